"""`ossctl batch`: input formats, options for all lines, and output formats."""

import csv
import gzip
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from openai.types.chat import ChatCompletion

from ossctl.storage.compression import ZstdEncoder
from tests.support.command import (
    Record,
    Result,
    by_id,
    choice_of,
    content_of,
    line_of,
    ossctl,
    records_in,
    write_jsonl,
)
from tests.support.models import smollm2

WEATHER = {"type": "object", "properties": {"days": {"type": "integer", "maximum": 9}}, "required": ["days"]}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}
COLOUR = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "colour", "schema": COLOUR}}

# A request for every field of a body that is understood.
FIELDS: dict[str, dict[str, Any]] = {
    "max_tokens": {"max_tokens": 3},
    "max_completion_tokens": {"max_completion_tokens": 3},
    "drawing": {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.01, "seed": 3},
    "stop": {"stop": ["a", "b"]},
    "logit_bias": {"logit_bias": {"65": 10}},
    "logprobs": {"logprobs": True},
    "top_logprobs": {"logprobs": True, "top_logprobs": 3},
    "n": {"n": 3, "logprobs": True},
    "json_object": {"response_format": {"type": "json_object"}, "logit_bias": {"125": 100}},  # }
    "json_schema": {"response_format": FORMAT, "max_reasoning_tokens": 4},
    "text": {"response_format": {"type": "text"}},
    "tools": {"tools": [TOOL]},
    "required": {"tools": [TOOL], "tool_choice": "required", "max_reasoning_tokens": 4},
    "named": {
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "max_reasoning_tokens": 4,
        "parallel_tool_calls": False,
    },
    "choice": {"choice": ["yes", "no, never", "nö"]},
    "regex": {"regex": "[a-c]{3}-\\d+/x"},
    "grammar": {"grammar": 'start: "<" item "," item ">"\nitem: /[a-f]{1,3}/'},
    "none": {"tools": [TOOL], "tool_choice": "none"},
    "effort": {"reasoning_effort": "low"},
    "budget": {"max_reasoning_tokens": 5},
    "date": {"date": "2025-12-24"},
    "ignorable": {"model": "gpt-4o", "stream": False},
    "penalties": {"frequency_penalty": 0.5, "presence_penalty": -0.5, "repetition_penalty": 1.1},
    "lengths": {"min_tokens": 5, "ignore_eos": True, "max_tokens": 20},
    "repeats": {"dry_multiplier": 0.8, "xtc_probability": 0.5, "top_n_sigma": 1.5},
}
UNSUPPORTED: dict[str, dict[str, Any]] = {
    "stream": {"stream": True},
    "penalty": {"frequency_penalty": 2.5},
    "audio": {"audio": {"voice": "alloy"}},
    "formats": {"regex": "a", "choice": ["a"]},
    "broken regex": {"regex": "a(b"},
    "broken grammar": {"grammar": "start: word"},
    "impossible": {"regex": "[^\\s\\S]"},
    "endless choice": {"ignore_eos": True, "choice": ["a"]},
    "modalities": {"modalities": ["audio"]},
    "n": {"n": 129},
}


@pytest.fixture
def model(byte_model_path: Path) -> tuple[object, ...]:
    """A model of gpt-oss's format that answers at once."""
    return "-m", byte_model_path, "--ctx", 1024, "--parallel", 4, "--threads", 1


@pytest.fixture(scope="module")
def fields(byte_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("fields")
    lines = [
        {"custom_id": name, "body": {"messages": [{"role": "user", "content": "Hi"}], **wanted}}
        for name, wanted in [*FIELDS.items(), *((f"no {name}", body) for name, body in UNSUPPORTED.items())]
    ]
    write_jsonl(folder / "in.jsonl", *lines)
    return ossctl("batch", "in.jsonl", "-n", 300, "-m", byte_model_path, "--ctx", 1024, cwd=folder)


def test_every_body_is_a_chat_completion_of_openais_own_types(fields: Result) -> None:
    records = by_id(fields.records)
    for name in FIELDS:
        completion = ChatCompletion.model_validate(records[name]["response"]["body"], strict=True)
        assert completion.usage is not None
        assert [choice.index for choice in completion.choices] == list(range(3 if name == "n" else 1))


def test_constrained_answers_are_valid_json(fields: Result) -> None:
    records = by_id(fields.records)
    jsonschema.validate(json.loads(content_of(records["json_schema"])), COLOUR)
    assert isinstance(json.loads(content_of(records["json_object"])), dict)
    for name in ("required", "named"):
        (call,) = choice_of(records[name])["message"]["tool_calls"]
        jsonschema.validate(json.loads(call["function"]["arguments"]), WEATHER)


def test_answers_have_the_format_that_was_asked_for(fields: Result) -> None:
    records = by_id(fields.records)
    assert content_of(records["choice"]) in ("yes", "no, never", "nö")
    assert re.fullmatch(r"[a-c]{3}-\d+/x", content_of(records["regex"]))
    assert re.fullmatch("<[a-f]{1,3},[a-f]{1,3}>", content_of(records["grammar"]))


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_an_unsupported_field_fails_its_line_by_name(fields: Result, name: str) -> None:
    error = by_id(fields.records)[f"no {name}"]["error"]
    assert error["code"] == "invalid_request"
    assert next(iter(UNSUPPORTED[name])) in error["message"]


def test_after_the_largest_seed_comes_0(tmp_path: Path) -> None:
    last = 2**64 - 1
    write_jsonl(tmp_path / "in.jsonl", {"prompt": "Hi", "n": 2}, {"prompt": "Hi", "n": 2, "seed": last})
    options = ("-m", "nano", "-n", 1, "--order", "input")
    records = ossctl("batch", "in.jsonl", *options, "--seed", last, cwd=tmp_path).records
    assert [record["response"]["body"]["settings"]["seed"] for record in records] == [0, last]
    answers = ossctl("run", "Hi", *options[:4], "--n", 2, "--seed", last, "--json", cwd=tmp_path)
    assert f'"seed": {last}' in answers.stdout
    assert '"seed": 0' in answers.stdout


def test_choices_share_one_prompt_and_have_consecutive_seeds(
    tmp_path: Path, model: tuple[object, ...]
) -> None:
    ask: Record = {"prompt": "Tell me something." * 10, "max_tokens": 12}
    write_jsonl(tmp_path / "in.jsonl", {**ask, "n": 3, "seed": 5, "id": "all"})
    write_jsonl(tmp_path / "each.jsonl", *({**ask, "seed": 5 + n, "id": n} for n in range(3)))
    together = ossctl("batch", "in.jsonl", *model, cwd=tmp_path)
    body = together.records[0]["response"]["body"]
    assert len(body["choices"]) == 3
    n_prompt = body["usage"]["prompt_tokens"]
    assert f"{n_prompt} tokens in" in together.said[0]
    counted = sum(choice["message"]["content"] != "" for choice in body["choices"])
    assert body["usage"]["completion_tokens"] <= 36
    assert body["usage"]["total_tokens"] == n_prompt + body["usage"]["completion_tokens"]
    each = by_id(ossctl("batch", "each.jsonl", *model, cwd=tmp_path).records)
    alone = [choice_of(each[str(n)])["message"] for n in range(3)]
    assert [choice["message"] for choice in body["choices"]] == alone
    assert counted == sum(message["content"] != "" for message in alone)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    rows = [("1", "Ada", "London"), ("2", 'Bo "B"', "Oslo, Norway"), ("3", "Cy\nD", "")]
    text = io.StringIO()
    csv.writer(text).writerows([("id", "name", "town"), *rows])
    (folder / "people.csv").write_text(text.getvalue(), "utf-8", newline="")
    (folder / "people.tsv").write_text("id\tname\ttown\n1\tAda\tLondon\n", "utf-8")
    write_jsonl(
        folder / "people.jsonl",
        *(
            {"id": int(number), "name": name, "town": town, "seed": "no option"}
            for number, name, town in rows
        ),
        {"id": 4, "name": "Di"},
        {"custom_id": 5, "id": 6, "name": "Ed", "town": "Rome"},
    )
    (folder / "names.txt").write_text("Ada\n\nBo\n", "utf-8")
    return folder


@pytest.mark.parametrize(
    ("source", "template", "prompts"),
    [
        ("people.csv", "{{ name }} of {{ town }}", ["Ada of London", 'Bo "B" of Oslo, Norway', "Cy\nD of "]),
        ("names.txt", None, ["Ada", "Bo"]),
    ],
)
def test_prompts_are_made_from_rows_and_lines(
    people: Path, model: tuple[object, ...], source: str, template: str | None, prompts: list[str]
) -> None:
    options = [] if template is None else ["--prompt", template]
    made = ossctl("batch", source, *options, "-n", 2, *model, cwd=people)
    asked = b"".join(line_of({"prompt": prompt}) for prompt in prompts)
    plain = ossctl("batch", "-", "-n", 2, *model, cwd=people, stdin=asked)
    assert [usage_of(record) for record in sorted_by_line(made)] == [
        usage_of(record) for record in sorted_by_line(plain)
    ]
    assert made.code == plain.code == 0


def sorted_by_line(result: Result) -> list[Record]:
    return sorted(result.records, key=lambda record: record["custom_id"])


def usage_of(record: Record) -> int:
    return int(record["response"]["body"]["usage"]["prompt_tokens"])


def test_a_template_that_fails_for_some_records_names_them(people: Path, model: tuple[object, ...]) -> None:
    result = ossctl("batch", "people.jsonl", "-p", "{{ name }}, {{ town }}", "-n", 2, *model, cwd=people)
    assert result.code == 3
    records = by_id(result.records)
    assert sorted(records) == ["1", "2", "3", "4", "5"]
    assert records["4"]["error"] == {
        "code": "template_failed",
        "message": "line 4: --prompt: 'town' is undefined",
        "line": 4,
    }


def test_a_schema_that_cannot_be_enforced_is_refused_before_any_work(
    people: Path, model: tuple[object, ...]
) -> None:
    arguments = ("batch", "names.txt", "-o", "out.jsonl", "--schema", '{"type": "colour"}')
    result = ossctl(*arguments, *model, cwd=people)
    assert result.code == 2
    assert result.said[0].startswith("ossctl: --schema")
    assert not (people / "out.jsonl").exists()


@pytest.mark.parametrize("options", [("batch", "in.jsonl", "-o", "out.jsonl"), ("run", "--serve-stdin")])
def test_functions_for_a_model_that_takes_none_are_refused_before_any_work(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    write_jsonl(tmp_path / "in.jsonl", {"prompt": "Say hi."})
    result = ossctl(*options, "-m", smollm2(), "--files", ".", cwd=tmp_path, stdin=b'{"prompt": "Say hi."}\n')
    assert (result.code, result.stdout) == (2, "")
    assert "takes no functions: its chat template has none" in result.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_options_apply_to_lines_that_set_nothing(tmp_path: Path, model: tuple[object, ...]) -> None:
    system = [{"role": "system", "content": "Be kind."}]
    user = [{"role": "user", "content": "Hi"}]
    write_jsonl(
        tmp_path / "in.jsonl",
        {"id": "prompt", "prompt": "Hi"},
        {"id": "own", "messages": [*system, *user], "max_tokens": 5, "response_format": {"type": "text"}},
        {"id": "same", "messages": [{"role": "system", "content": "Be brief."}, *user]},
    )
    options = ("-s", "Be brief.", "--schema", json.dumps(COLOUR), "-n", 200, "--max-reasoning-tokens", 3)
    records = by_id(ossctl("batch", "in.jsonl", *options, *model, cwd=tmp_path).records)
    assert usage_of(records["prompt"]) == usage_of(records["same"]) > usage_of(records["own"])
    jsonschema.validate(json.loads(content_of(records["prompt"])), COLOUR)
    assert records["own"]["response"]["body"]["usage"]["completion_tokens"] <= 5


def test_flat_records_can_repeat_their_input(people: Path, model: tuple[object, ...]) -> None:
    options = ("-p", "{{ name }}{{ town }}", "--flat", "--keep-input", "-n", 2, *model)
    result = ossctl("batch", "people.jsonl", *options, cwd=people)
    records = {record["custom_id"]: record for record in map(json.loads, result.stdout.splitlines())}
    assert set(records["1"]) == {
        *("id", "custom_id", "content", "reasoning", "tool_calls", "finish_reason", "prompt_tokens"),
        *("completion_tokens", "reasoning_tokens", "created", "settings", "error", "input"),
    }
    assert records["1"]["input"] == {"id": 1, "name": "Ada", "town": "London", "seed": "no option"}
    assert records["4"]["content"] is None
    assert records["4"]["error"]["code"] == "template_failed"


def test_a_flat_record_holds_all_choices(tmp_path: Path, model: tuple[object, ...]) -> None:
    result = ossctl(
        *("batch", "-", "--flat", *model),
        cwd=tmp_path,
        stdin=line_of({"prompt": "Hi", "n": 2, "max_tokens": 3}),
    )
    record = json.loads(result.stdout)
    assert len(record["choices"]) == 2
    assert record["choices"][0]["content"] == record["content"]


@pytest.mark.parametrize(("options", "expected"), [(["--limit", 2], 2), (["--sample", 3], 3)])
def test_a_part_of_the_input_can_be_resumed_with_the_rest(
    people: Path, tmp_path: Path, model: tuple[object, ...], options: list[object], expected: int
) -> None:
    arguments = ("batch", people / "people.jsonl", "-p", "{{ name }}", "-o", "out.jsonl", "-n", 2, *model)
    part = ossctl(*arguments, *options, cwd=tmp_path)
    assert part.said[0].startswith(f"{expected} of {expected} done")
    before = (tmp_path / "out.jsonl").read_text("utf-8")
    rest = ossctl(*arguments, "--resume", cwd=tmp_path)
    assert rest.said[0].startswith(f"{5 - expected} of 5 done, {expected} skipped")
    after = (tmp_path / "out.jsonl").read_text("utf-8")
    assert after.startswith(before)
    assert len(by_id(records_in(after))) == 5


def test_duplicate_ids_are_refused_before_work_starts(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", {"id": 1, "prompt": "a"}, {"id": "x", "prompt": "b"}, {"id": "1"})
    result = ossctl("batch", "in.jsonl", "-m", "never-loaded.gguf", cwd=tmp_path)
    assert result.code == 2
    assert result.said == [
        "ossctl: lines 1 and 3 have the same id '1'",
        "Use --assign-ids to make line numbers the ids.",
    ]


def test_duplicate_ids_can_be_replaced_and_fail_in_a_stream(
    tmp_path: Path, model: tuple[object, ...]
) -> None:
    ask = {"id": 1, "prompt": "a", "max_tokens": 2}
    write_jsonl(tmp_path / "in.jsonl", ask, ask)
    assigned = ossctl("batch", "in.jsonl", "--assign-ids", *model, cwd=tmp_path)
    assert (assigned.code, sorted(by_id(assigned.records))) == (0, ["line-1", "line-2"])
    streamed = ossctl("batch", "-", *model, cwd=tmp_path, stdin=line_of(ask) * 2)
    records = by_id(streamed.records)
    assert (streamed.code, sorted(records)) == (3, ["1", "line-2"])
    assert records["line-2"]["error"]["code"] == "duplicate_id"


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_input_and_output_can_be_compressed(tmp_path: Path, model: tuple[object, ...], suffix: str) -> None:
    lines = b"".join(line_of({"prompt": f"Say {n}.", "max_tokens": 3}) for n in range(20))
    encoder = ZstdEncoder()
    packed = gzip.compress(lines) if suffix == "gz" else encoder.encode(lines) + encoder.finish()
    (tmp_path / f"in.jsonl.{suffix}").write_bytes(packed)
    result = ossctl("batch", f"in.jsonl.{suffix}", "-o", f"out.jsonl.{suffix}", *model, cwd=tmp_path)
    assert result.said[0].startswith("20 of 20 done")
    assert len(by_id(records_in(unpacked(tmp_path / f"out.jsonl.{suffix}")))) == 20


def unpacked(path: Path) -> str:
    """By the system's own program, where there is one."""
    program = {".gz": "gzip", ".zst": "zstd"}[path.suffix]
    try:
        return subprocess.run([program, "-dc", path], capture_output=True, check=True).stdout.decode()
    except FileNotFoundError:
        from ossctl.storage.compression import open_decoded

        with open_decoded(path) as file:
            return file.read().decode()


def test_records_can_be_in_the_order_of_the_input(tmp_path: Path, model: tuple[object, ...]) -> None:
    lines = [{"id": n, "prompt": "Hi", "max_tokens": 1 + (7 * n) % 20} for n in range(40)]
    lines[3] = {"id": 3, "prompt": 5}
    write_jsonl(tmp_path / "in.jsonl", *lines)
    result = ossctl("batch", "in.jsonl", "--order", "input", *model, cwd=tmp_path)
    assert [record["custom_id"] for record in result.records] == [str(n) for n in range(40)]


def test_a_dry_run_checks_every_line_and_answers_none(tmp_path: Path, model: tuple[object, ...]) -> None:
    good = [{"prompt": f"{'x' * 100}{n}", "max_tokens": 10} for n in range(5)]
    write_jsonl(tmp_path / "in.jsonl", *good, {"prompt": "Hi", "max_tokens": 0}, {"prompt": "y" * 2000})
    result = ossctl("batch", "in.jsonl", "-o", "out.jsonl", "--dry-run", *model, cwd=tmp_path)
    assert result.code == 3
    lines = result.stdout.splitlines()
    assert lines[0] == "requests  7: 5 to answer, 2 invalid"
    assert lines[1] == "          line 6: max_tokens is 0, must be at least 1"
    assert lines[2].startswith("          line 7: the prompt has 2,")
    prompts = [word for word in lines[3].replace(",", "").split() if word.isdigit()]
    total, shared, longest = map(int, prompts)
    assert 5 * longest - 5 <= total <= 5 * longest
    assert shared >= 4 * (longest - 80)
    assert lines[4] == "answers   up to 50 tokens"
    assert [line.split()[0] for line in lines[5:]] == ["plan", "speed", "time"]
    assert "on the CPU" in lines[5]
    assert not (tmp_path / "out.jsonl").exists()


def test_a_dry_run_with_resume_counts_unfinished_requests(tmp_path: Path, model: tuple[object, ...]) -> None:
    write_jsonl(tmp_path / "in.jsonl", *({"prompt": f"Hi {n}", "max_tokens": 3} for n in range(4)))
    arguments = ("batch", "in.jsonl", "-o", "out.jsonl", *model)
    ossctl(*arguments, "--limit", 3, cwd=tmp_path)
    before = (tmp_path / "out.jsonl").read_bytes()
    result = ossctl(*arguments, "--resume", "--dry-run", cwd=tmp_path)
    assert result.stdout.startswith("requests  4: 1 to answer, 0 invalid, 3 already finished\n")
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_status_counts_the_records_of_an_output(tmp_path: Path, model: tuple[object, ...]) -> None:
    write_jsonl(
        tmp_path / "in.jsonl", *({"prompt": f"Hi {n}", "max_tokens": 3} for n in range(4)), {"prompt": 1}
    )
    result = ossctl("batch", "in.jsonl", "-o", "out.jsonl", *model, cwd=tmp_path)
    text = ossctl("batch", "status", "out.jsonl", "--of", "in.jsonl", cwd=tmp_path).stdout.splitlines()
    assert text[0].startswith("4 of 5 done, 1 failed (1 invalid_request) · ")
    assert len(text) == 1, "there is nothing to go on with"
    document = json.loads(ossctl("batch", "status", "out.jsonl", "--json", cwd=tmp_path).stdout)
    assert document["schema"] == "ossctl.batch-status/1"
    assert (document["done"], document["failed"], document["running"]) == (4, 1, False)
    assert f"{document['completion_tokens']} out" in result.said[0]
    assert document["total"] is None


def test_status_reads_the_input_as_the_batch_did(tmp_path: Path, model: tuple[object, ...]) -> None:
    (tmp_path / "in.data").write_text("id,prompt\na,Hi\nb,Hello\n", "utf-8")
    ossctl("batch", "in.data", "--csv", "-n", 3, "-o", "out.jsonl", *model, cwd=tmp_path)
    for given, head in ((("--csv",), "2 of 2 done"), ((), "0 of 3 done")):
        result = ossctl("batch", "status", "out.jsonl", "--of", "in.data", *given, cwd=tmp_path)
        assert result.stdout.startswith(head)
    result = ossctl("batch", "status", "out.jsonl", "--csv", cwd=tmp_path)
    assert (result.code, result.said[0]) == (2, "ossctl: --csv needs --of")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "out.jsonl does not exist yet"),
        (b"hello\n", "out.jsonl is not the output of a batch: line 1 is not a record"),
    ],
)
def test_status_refuses_a_file_that_is_not_an_output(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "out.jsonl").write_bytes(content)
    result = ossctl("batch", "status", "out.jsonl", cwd=tmp_path)
    assert result.code == 2
    assert result.said == [f"ossctl: {said}"]


def test_a_file_named_status_can_be_an_input(tmp_path: Path, model: tuple[object, ...]) -> None:
    write_jsonl(tmp_path / "status", {"prompt": "Hi", "max_tokens": 2})
    result = ossctl("batch", "./status", *model, cwd=tmp_path)
    assert len(result.records) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_one_batch_can_be_piped_into_another(tmp_path: Path, model: tuple[object, ...]) -> None:
    lines = b"".join(line_of({"prompt": f"Hi {n}", "max_tokens": 2}) for n in range(3))
    first = ossctl("batch", "-", "--flat", "--keep-input", *model, cwd=tmp_path, stdin=lines)
    second = ossctl(
        *("batch", "-", "-p", "{{ input.prompt }}: {{ content }}", "-n", 2, *model),
        cwd=tmp_path,
        stdin=first.stdout.encode(),
    )
    assert second.code == 0
    assert sorted(by_id(second.records)) == ["line-1", "line-2", "line-3"]
