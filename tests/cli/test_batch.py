"""`ossctl batch` with a real model: requests, records, stdout and stderr."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from ossctl import __version__
from tests.support.command import (
    Live,
    Record,
    Result,
    by_id,
    choice_of,
    command,
    content_of,
    environment,
    line_of,
    ossctl,
    records_in,
    small_model,
    start,
    write_jsonl,
)
from tests.support.models import smollm2

END_OF_TURN = {"2": 100}  # as a logit bias it makes SmolLM2 end its answer at once
HI: Record = {"prompt": "Say hi.", "max_tokens": 4, "temperature": 0}

MIXED: list[Record] = [
    {
        "custom_id": "openai",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "gpt-oss-20b",
            "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello!"}],
            "max_tokens": 8,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": 3,
        },
    },
    {"prompt": "Name a colour.", "id": 7, "max_tokens": 5},
    {"messages": [{"role": "user", "content": "Name a tree."}], "max_completion_tokens": 6},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], "logit_bias": END_OF_TURN},
]
MIXED_IDS = ["openai", "7", "line-3", "line-4"]

SAMPLED = [{"prompt": f"Tell me about {what}.", "max_tokens": 6} for what in ("cats", "cats", "the sea")]
GREEDY = [
    {"prompt": f"What is the capital of {land}?", "max_tokens": 8, "temperature": 0}
    for land in ("France", "Italy", "Japan", "Peru", "Egypt")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("batch")


@pytest.fixture(scope="module")
def mixed(folder: Path) -> Result:
    source = write_jsonl(folder / "mixed.jsonl", *MIXED)
    return ossctl("batch", source, *small_model(), cwd=folder)


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    """A batch that waits for its next line."""
    with start("batch", "-", *small_model(), cwd=folder) as process:
        yield process


@pytest.fixture(scope="module")
def repeated(folder: Path) -> list[dict[str, Record]]:
    """The records of one file answered four at a time, again, and one at a time."""
    source = write_jsonl(folder / "repeated.jsonl", *SAMPLED, *GREEDY)
    runs = [ossctl("batch", source, *small_model(parallel=n), cwd=folder) for n in (4, 4, 1)]
    return [by_id(run.records) for run in runs]


def test_every_form_of_a_line_gets_one_record_under_its_id(mixed: Result) -> None:
    assert mixed.code == 0
    assert sorted(by_id(mixed.records)) == sorted(MIXED_IDS)
    assert all(record["error"] is None for record in mixed.records)


def test_a_record_has_the_shape_of_openais_batch_output(mixed: Result) -> None:
    for record in mixed.records:
        response = record["response"]
        assert response["status_code"] == 200
        assert response["request_id"]
        body = response["body"]
        assert set(body) == {"id", "object", "created", "model", "choices", "usage", "settings"}
        assert body["object"] == "chat.completion"
        assert type(body["created"]) is int
        choice = choice_of(record)
        assert choice["index"] == 0
        assert choice["message"]["role"] == "assistant"
        assert choice["finish_reason"] in {"stop", "length"}
    assert len({record["id"] for record in mixed.records}) == len(MIXED)


def test_the_settings_of_a_record_are_its_seed_and_todays_date(mixed: Result) -> None:
    records = by_id(mixed.records)
    settings = [records[name]["response"]["body"]["settings"] for name in MIXED_IDS]
    assert [setting.pop("seed") for setting in settings] == [1, 2, 3, 4]  # the lines' numbers
    days = [date.fromisoformat(setting.pop("date")) for setting in settings]
    assert all(abs(day - datetime.now().astimezone().date()) <= timedelta(days=1) for day in days)
    assert settings == [{}] * len(MIXED), "a template knows no effort"


def test_usage_adds_up(mixed: Result) -> None:
    for record in mixed.records:
        usage = record["response"]["body"]["usage"]
        assert usage["prompt_tokens"] > 0
        assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"]
        assert 0 <= usage["prompt_tokens_details"]["cached_tokens"] < usage["prompt_tokens"]


def test_an_answer_cut_by_max_tokens_has_that_many_and_reason_length(mixed: Result) -> None:
    records = by_id(mixed.records)
    cut = records["openai"]
    assert cut["response"]["body"]["usage"]["completion_tokens"] == 8
    assert choice_of(cut)["finish_reason"] == "length"
    assert records["7"]["response"]["body"]["usage"]["completion_tokens"] <= 5
    assert records["line-3"]["response"]["body"]["usage"]["completion_tokens"] <= 6


def test_an_answer_that_the_model_ends_has_reason_stop(mixed: Result) -> None:
    ended = by_id(mixed.records)["line-4"]
    assert choice_of(ended)["finish_reason"] == "stop"
    assert content_of(ended) == ""


def test_requested_logprobs_spell_the_answer(mixed: Result) -> None:
    records = by_id(mixed.records)
    entries = choice_of(records["openai"])["logprobs"]["content"]
    assert b"".join(bytes(entry["bytes"]) for entry in entries).decode() == content_of(records["openai"])
    for entry in entries:
        assert entry["logprob"] <= 0
        assert len(entry["top_logprobs"]) == 3
        assert entry["top_logprobs"][0]["token"] == entry["token"]  # temperature 0 takes the likeliest
    assert choice_of(records["7"])["logprobs"] is None


def test_stdout_has_the_records_alone_and_stderr_the_summary(mixed: Result) -> None:
    assert len(mixed.stdout.splitlines()) == len(MIXED)
    (summary,) = mixed.said
    assert summary.startswith("4 of 4 done · ")
    used = [record["response"]["body"]["usage"] for record in mixed.records]
    assert f"{sum(usage['prompt_tokens'] for usage in used)} tokens in" in summary
    assert f"{sum(usage['completion_tokens'] for usage in used)} out" in summary


def test_a_dash_is_stdin_and_stdout(folder: Path) -> None:
    result = ossctl("batch", "-", "-o", "-", *small_model(), cwd=folder, stdin=line_of(HI) * 2)
    assert result.code == 0
    assert sorted(by_id(result.records)) == ["line-1", "line-2"]
    assert not (folder / "-").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes are POSIX")
def test_a_named_pipe_is_an_input_that_is_read_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with start("batch", "pipe", *small_model(), cwd=tmp_path) as batch:
        (tmp_path / "pipe").write_bytes(line_of(HI) * 2)
        result = batch.finish()
    assert result.code == 0
    assert sorted(by_id(result.records)) == ["line-1", "line-2"]


def test_o_sets_the_output_and_the_environment_the_model(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", HI)
    result = ossctl(
        *("batch", "in.jsonl", "-o", "out.jsonl"),
        cwd=tmp_path,
        OSSCTL_MODEL=str(smollm2()),
        OSSCTL_CTX="512",
        OSSCTL_THREADS="1",
    )
    assert result.code == 0
    assert result.stdout == ""
    assert len(records_in((tmp_path / "out.jsonl").read_text("utf-8"))) == 1


def test_overwrite_replaces_the_output(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", HI)
    output = tmp_path / "out.jsonl"
    output.write_text("old\n" * 1000, "utf-8")
    assert ossctl("batch", "in.jsonl", "-o", output, "--overwrite", *small_model(), cwd=tmp_path).code == 0
    assert [record["custom_id"] for record in records_in(output.read_text("utf-8"))] == ["line-1"]


def test_an_existing_output_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", HI)
    (tmp_path / "out.jsonl").write_text("precious\n", "utf-8")
    result = ossctl("batch", "in.jsonl", "-o", "out.jsonl", *small_model(), cwd=tmp_path)
    assert result.code == 2
    assert result.said == [
        "ossctl: out.jsonl exists",
        "Use --resume to continue it, or --overwrite to replace it.",
    ]
    assert (tmp_path / "out.jsonl").read_text("utf-8") == "precious\n"


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_an_output_that_is_the_input_is_refused_and_left_as_it_was(
    tmp_path: Path, overwrite: list[str]
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", HI)
    result = ossctl("batch", "in.jsonl", "-o", source, *overwrite, *small_model(), cwd=tmp_path)
    assert result.code == 2
    assert "is the input" in result.stderr
    assert source.read_bytes() == line_of(HI)


@pytest.mark.parametrize(
    ("arguments", "redirected"),
    [(["-", "-o", "in.jsonl", "--overwrite"], "stdin"), (["in.jsonl"], "stdout"), (["-"], "both")],
)
def test_a_shell_redirection_to_the_input_is_noticed(
    tmp_path: Path, arguments: list[str], redirected: str
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", HI)
    with source.open("rb") as stdin, source.open("ab") as stdout:
        done = subprocess.run(
            command("batch", *arguments, *small_model()),
            cwd=tmp_path,
            env=environment(tmp_path),
            stdin=subprocess.DEVNULL if redirected == "stdout" else stdin,
            stdout=subprocess.DEVNULL if redirected == "stdin" else stdout,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, source.read_bytes()) == (2, line_of(HI))
    assert b"is the input" in done.stderr


@pytest.mark.parametrize(
    ("output", "report", "message"),
    [
        (["-o", "sub/../out.jsonl"], "out.jsonl", "--report would overwrite out.jsonl"),
        (["-o", "link"], "out.jsonl", "--report would overwrite out.jsonl"),
        ([], "out.jsonl", "--report out.jsonl is standard output"),
        (["-o", "out.jsonl"], "stdout", "--report stdout is standard output"),
        (["-o", "out.jsonl"], "-", "--report - is standard output"),
    ],
)
def test_a_report_never_takes_the_place_of_other_output(
    tmp_path: Path, output: list[str], report: str, message: str
) -> None:
    write_jsonl(tmp_path / "in.jsonl", HI)
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to("out.jsonl")
    with (tmp_path / "stdout" if output else tmp_path / "out.jsonl").open("wb") as stdout:
        done = subprocess.run(
            command("batch", "in.jsonl", *output, "--report", report, *small_model()),
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, message in done.stderr.decode()) == (2, True)


def test_bad_lines_fail_alone_with_exit_code_3(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(line_of(HI) + b"nonsense\n\n" + line_of(HI) + line_of({"prompt": 1, "id": "wrong"}))
    result = ossctl("batch", source, *small_model(), cwd=tmp_path)
    assert result.code == 3
    assert result.said[0].startswith("2 of 4 done, 2 failed · ")
    records = by_id(result.records)
    assert content_of(records["line-1"]) == content_of(records["line-4"])
    failed = {name: record["error"]["line"] for name, record in records.items() if record["error"]}
    assert failed == {"line-2": 2, "wrong": 5}


def test_greedy_answers_do_not_depend_on_how_many_run_at_once(repeated: list[dict[str, Record]]) -> None:
    greedy = [f"line-{n}" for n in range(len(SAMPLED) + 1, len(SAMPLED) + len(GREEDY) + 1)]
    four_at_once, _, one_by_one = ({name: content_of(run[name]) for name in greedy} for run in repeated)
    assert four_at_once == one_by_one


def test_the_same_file_gives_the_same_answers_and_equal_lines_differ(
    repeated: list[dict[str, Record]],
) -> None:
    first, second, _ = ({name: choice_of(record) for name, record in run.items()} for run in repeated)
    assert first == second
    assert first["line-1"] != first["line-2"]


def test_a_result_is_written_while_the_batch_waits_for_more_input(live: Live) -> None:
    for name in ("one", "two", "three"):
        assert live.ask({**HI, "id": name})["custom_id"] == name


def test_half_a_line_on_stdin_does_not_hold_back_finished_answers(live: Live) -> None:
    last = line_of({**HI, "id": "last"})
    live.write(line_of({**HI, "id": "a"}) + line_of({**HI, "id": "b"}) + last[:9])
    assert {live.next_record()["custom_id"] for _ in range(2)} == {"a", "b"}
    live.write(last[9:])
    assert live.next_record()["custom_id"] == "last"


def test_a_stop_string_ends_the_answer_and_is_not_shown(live: Live) -> None:
    whole = content_of(live.ask({**HI, "max_tokens": 12}))
    stop = whole[len(whole) // 2 :][:3]
    stopped = live.ask({**HI, "max_tokens": 12, "stop": stop})
    assert content_of(stopped) == whole.partition(stop)[0]
    assert choice_of(stopped)["finish_reason"] == "stop"


def test_a_prompt_longer_than_the_context_fails_its_line_alone(live: Live) -> None:
    record = live.ask({"prompt": "word " * 600, "id": "long"})
    assert record["custom_id"] == "long"
    assert record["response"] is None
    assert record["error"]["code"] == "context_length_exceeded"
    assert f"line {record['error']['line']}: the prompt has " in record["error"]["message"]
    assert "the context window is 512" in record["error"]["message"]


def test_a_prompt_of_megabytes_is_refused_by_its_length_without_delaying_others(live: Live) -> None:
    record = live.ask({"prompt": "a b " * 4_000_000, "id": "endless"})
    assert record["error"]["code"] == "context_length_exceeded"
    assert (
        "the prompt has more than 197,530 tokens, but the context window is 512" in record["error"]["message"]
    )


def test_v_shows_a_log_besides_the_summary(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", HI)
    result = ossctl("batch", source, "-v", *small_model(), cwd=tmp_path)
    assert len(result.said) > 1


def test_vv_shows_llama_cpps_log_on_stderr_and_keeps_stdout_clean(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", HI)
    result = ossctl("batch", source, "-vv", *small_model(), cwd=tmp_path)
    assert any(line.startswith("ossctl.llama: ") for line in result.said)
    assert len(result.records) == 1


def test_version_is_the_packages(tmp_path: Path) -> None:
    result = ossctl("--version", cwd=tmp_path)
    assert (result.code, result.stdout, result.stderr) == (0, f"ossctl {__version__}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["batch", "--help"], ["batch", "-h"]])
def test_help_names_the_command_and_exits_with_0(tmp_path: Path, arguments: list[str]) -> None:
    result = ossctl(*arguments, cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")
    assert "ossctl" in result.stdout.splitlines()[0]
    assert "batch" in result.stdout


def test_no_arguments_show_the_help_and_are_exit_code_2(tmp_path: Path) -> None:
    result = ossctl(cwd=tmp_path)
    assert result.code == 2
    assert result.stdout + result.stderr == ossctl("--help", cwd=tmp_path).stdout
