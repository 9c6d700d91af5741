"""`ossctl compare`: what is compared, shown and kept, with nano and SmolLM2."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from ossctl.app.library.resolve import NANO_FILE
from ossctl.cli.main import app
from ossctl.errors import OssctlError
from tests.support.chat_templates import FAMILIES
from tests.support.command import Result, content_of, ossctl, start, write_jsonl
from tests.support.models import smollm2
from tests.support.small_models import small_model
from tests.support.terminal import Terminal

NORWAY = "What is the capital of Norway?"
SUM = "What is 47 plus 38?"
BOTH = ("-m", f"nano,{smollm2()}")
GREEDY = ("-t", 0, "--threads", 1, "-n", 40)
SMOL = smollm2().stem


def compare(folder: Path, *arguments: object, stdin: bytes = b"") -> Result:
    return ossctl("compare", *GREEDY, *arguments, cwd=folder, stdin=stdin)


def kept(path: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind in a file or an output."""
    return lines_of(path.read_text("utf-8"), kind)


def lines_of(text: str, kind: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in text.splitlines()]
    return [record for record in records if record["kind"] == kind]


def test_each_model_answers_each_prompt_as_a_batch_would(tmp_path: Path) -> None:
    shutil.copy(NANO_FILE, tmp_path / "other.gguf")
    result = compare(tmp_path, "-m", "nano,other.gguf", NORWAY, SUM, "--json")
    assert result.code == 0, result.stderr
    answers = lines_of(result.stdout, "answer")
    assert [(each["prompt"], each["contestant"]) for each in answers] == [
        ("1", "nano"),
        ("1", "other"),
        ("2", "nano"),
        ("2", "other"),
    ]
    assert [each["seed"] for each in answers] == [1, 1, 2, 2]
    assert answers[2]["reasoning_tokens"] > 0
    assert answers[3]["finish_reason"] == "length"
    assert [each["label"] for each in lines_of(result.stdout, "contestant")] == ["nano", "other"]
    assert json.loads(result.stdout.splitlines()[0])["schema"] == "ossctl.compare/1"
    write_jsonl(tmp_path / "in.jsonl", {"prompt": NORWAY}, {"prompt": SUM})
    batch = ossctl("batch", *GREEDY, "in.jsonl", "-m", "nano", "--order", "input", cwd=tmp_path)
    for found in (answers[::2], answers[1::2]):
        assert [each["answer"] for each in found] == [content_of(each) for each in batch.records]


@pytest.mark.parametrize("seed", [2**63, 2**64 - 1])
def test_the_largest_seeds_are_seeds_too(tmp_path: Path, seed: int) -> None:
    result = compare(tmp_path, "-m", "nano", "-e", "low,high", SUM, NORWAY, "--seed", seed, "-n", 2, "--json")
    assert result.code == 0, result.stderr
    found = [each["seed"] for each in lines_of(result.stdout, "answer")]
    assert found == [(seed + n) % 2**64 for n in (1, 1, 2, 2)]


def test_piped_output_is_plain_text_and_efforts_share_a_load(tmp_path: Path) -> None:
    result = compare(
        tmp_path, "-m", "nano", "-e", "low,high", SUM, "--diff", "--reasoning", "-n", 30, "-o", "o.jsonl"
    )
    assert result.stdout.startswith(f"== {SUM}\n\n-- nano · low\n")
    assert "\n-- nano · high\n[reasoning] " in result.stdout
    assert "of them reasoning · first " in result.stdout
    assert "\n-- nano · low → nano · high\n[-" in result.stdout
    assert "\x1b" not in result.stdout
    low, high = kept(tmp_path / "o.jsonl", "contestant")
    assert (low["effort"], high["effort"]) == ("low", "high")
    assert low["load_seconds"] == high["load_seconds"]


@pytest.mark.slow
def test_a_model_without_efforts_is_compared_once(tmp_path: Path) -> None:
    result = compare(tmp_path, *BOTH, "--effort", "low,high", SUM, "--json", "-n", 10)
    labels = [each["label"] for each in lines_of(result.stdout, "contestant")]
    assert labels == ["nano · low", "nano · high", SMOL]
    assert f"{SMOL} has no --effort, and is compared without it." in result.said
    alone = compare(tmp_path, "-m", smollm2(), "--effort", "low,high", SUM)
    assert alone.code == 2
    assert "--effort is not for" in alone.stderr


@pytest.mark.slow
def test_templates_are_compared(tmp_path: Path) -> None:
    (tmp_path / "plain.jinja").write_text(
        "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:",
        "utf-8",
    )
    arguments = ("-m", smollm2(), "--template", "", "--template", "plain.jinja", NORWAY, "--json", "-n", 10)
    result = compare(tmp_path, *arguments)
    answers = lines_of(result.stdout, "answer")
    assert [each["contestant"] for each in answers] == [f"{SMOL} · own template", f"{SMOL} · plain.jinja"]
    assert answers[0]["prompt_tokens"] > answers[1]["prompt_tokens"]


@pytest.mark.slow
def test_calls_of_tools_are_run_and_counted(tmp_path: Path) -> None:
    (tmp_path / "hermes.jinja").write_text(FAMILIES["Hermes"], "utf-8")
    choice = {"type": "function", "function": {"name": "python"}}
    write_jsonl(tmp_path / "in.jsonl", {"prompt": "Run this code: print(6*7)", "tool_choice": choice})
    templates = ("--template", "hermes.jinja", "--template", "")
    result = compare(tmp_path, "-m", smollm2(), *templates, "-f", "in.jsonl", "--python", "--json", "-n", 60)
    ran, refused = lines_of(result.stdout, "answer")
    assert [each["result"] for each in ran["tool_results"]] == ["42"]
    assert ran["seconds"] > ran["first_token_seconds"] > 0
    assert refused["error"].startswith("tools: the model's chat template has none")
    assert result.code == 3


@pytest.mark.slow  # test_prompts.py reads a pipe in this process
def test_a_lone_dash_reads_the_prompts_from_a_pipe(tmp_path: Path) -> None:
    piped = compare(tmp_path, "-m", "nano", "-e", "low,high", "--json", "-", stdin=f"{SUM}\n".encode())
    assert [each["id"] for each in lines_of(piped.stdout, "prompt")] == ["1"]


def test_a_request_that_cannot_be_answered_fails_alone(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", {"prompt": "word " * 600}, {"prompt": NORWAY})
    result = compare(tmp_path, "-m", "nano", "-e", "low,high", "-f", "in.jsonl", "--ctx", 256)
    assert result.code == 3
    assert result.stdout.count("(failed: the prompt has ") == 2
    assert "failed" in result.stdout.splitlines()[-3]


def test_a_contestant_that_fails_keeps_the_others(tmp_path: Path) -> None:
    broken = small_model(tmp_path / "no-template.gguf", "qwen3")
    result = compare(tmp_path, "-m", f"nano,{broken}", NORWAY, "-o", "out.jsonl")
    assert result.code == 3
    assert "no-template failed: " in result.stderr
    assert "has no chat template" in result.stderr
    assert "The capital of Norway is Oslo." in result.stdout
    failed = kept(tmp_path / "out.jsonl", "contestant")[1]
    assert "has no chat template" in failed["error"]
    both = compare(tmp_path, "-m", broken, NORWAY, "--think", "on,off")
    assert both.code == 4


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("-m", "nano", "x"), 2, "there is nothing to compare"),
        (("-m", "nano,nano", "x"), 2, "nano is given twice"),
        (("-m", "nano,nonesuch", "x"), 4, "no model is called nonesuch"),
        (("-m", "nano,nonesuch.gguf", "x"), 4, "nonesuch.gguf"),
        (
            ("-m", "nano", "-e", "low,fast", "x"),
            2,
            "--effort low,fast: 'fast' is not one of low, medium, high",
        ),
        (("-m", "nano", "-e", "low,low", "x"), 2, "low is given twice"),
        (("-m", "nano", "-e", "low,high"), 2, "there is no prompt"),
        (
            ("-m", "nano", "-e", "low,high", "--think", "on", "x"),
            2,
            "--think is not for nano: gpt-oss always",
        ),
        (("-m", "nano", "-e", "low,high", "-f", "empty.txt"), 2, "empty.txt contains no requests"),
        (("-m", "nano", "-e", "low,high", "-f", "none.txt"), 2, "no input file at none.txt"),
        (("-m", "nano", "-e", "low,high", "-f", "bad.jsonl"), 2, "bad.jsonl, line 1: "),
        (("-m", "nano", "-e", "low,high", "bad.jsonl"), 2, "bad.jsonl is a file, not a prompt"),
        (("-m", "nano", "-e", "low,high", "x", "-o", "out.pdf"), 2, "-o out.pdf"),
        (("-m", "nano", "-e", "low,high", "x", "-o", "old.jsonl"), 2, "old.jsonl exists"),
        (("-m", "nano", "-e", "low,high", "x", "-o", "old.jsonl", "--resume"), 2, "is not a comparison"),
        (("-m", "nano", "-e", "low,high", "x", "--resume"), 2, "--resume needs the file"),
        (("-m", "nano", "-e", "low,high", "x", "--blind", "-o", "v.jsonl"), 2, "there is no terminal"),
    ],
)
def test_wrong_usage_is_reported_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("sys.stdin", None)
    (tmp_path / "empty.txt").touch()
    (tmp_path / "bad.jsonl").write_text('{"prompt": "x", "nonesuch": 1}\n', "utf-8")
    (tmp_path / "old.jsonl").write_text("{}\n", "utf-8")
    with pytest.raises(OssctlError) as raised:
        app(["compare", *arguments])
    assert raised.value.exit_code == code
    assert message in raised.value.message


@pytest.mark.slow
def test_pages_are_written_beside_the_file(tmp_path: Path) -> None:
    outputs = ("-o", "out.jsonl", "-o", "out.md", "-o", "out.html")
    assert compare(tmp_path, *BOTH, NORWAY, *outputs, "--diff").code == 0
    assert f"### {SMOL.replace('_', chr(92) + '_')}\n\n> The capital" in (tmp_path / "out.md").read_text(
        "utf-8"
    )
    assert "<ins>" in (tmp_path / "out.html").read_text("utf-8")
    assert len(kept(tmp_path / "out.jsonl", "answer")) == 2


def test_ctrl_c_keeps_and_shows_what_is_finished(tmp_path: Path) -> None:
    n_prompts = 16
    (tmp_path / "in.txt").write_text(f"{SUM}\n" * n_prompts, "utf-8")
    out = tmp_path / "out.jsonl"
    arguments = ("-m", "nano", "-e", "low,high", "-f", "in.txt", "-o", out, "-t", 0, "--threads", 1)
    with start("compare", *arguments, cwd=tmp_path) as running:
        deadline = time.monotonic() + 30
        while not (out.exists() and len(kept(out, "contestant")) > 1) and time.monotonic() < deadline:
            time.sleep(0.02)
        running.process.send_signal(signal.SIGINT)
        result = running.finish()
    assert result.code == 130
    assert f"--resume continues {out}." in result.stderr
    assert result.stdout.count("-- nano · low\n") == n_prompts
    assert "nano · low " in result.stdout.splitlines()[-2]
    assert len([each for each in kept(out, "answer") if each["contestant"] == "nano · low"]) == n_prompts


@pytest.mark.slow
@pytest.mark.parametrize(("judge", "name"), [("nano", "nano"), (smollm2(), SMOL)])
def test_a_judge_is_asked_in_both_orders_and_held_to_a_schema(
    tmp_path: Path, judge: object, name: str
) -> None:
    out = tmp_path / "out.jsonl"
    judged = compare(tmp_path, "-m", "nano", "-e", "low,high", SUM, NORWAY, "--judge", judge, "-o", out)
    assert judged.code in (0, 3), judged.stderr
    assert ("The judge nano is a contestant as well" in judged.stderr) == (name == "nano")
    verdicts = kept(out, "verdict")
    assert [each["prompt"] for each in verdicts] == ["1", "2"]
    for each in verdicts:
        opinions = [each["opinion"], each["swapped"]]
        assert all(opinion.get("verdict") or opinion["failed"] for opinion in opinions)
        assert each["judge"] == name
        assert each["ruling"] in ("first", "second", "tie", "inconsistent", "failed")
    assert f"Judge {name}: nano · low " in judged.stdout
    again = compare(
        tmp_path, "-m", "nano", "-e", "low,high", SUM, NORWAY, "--judge", judge, "-o", out, "--resume"
    )
    assert kept(out, "verdict") == verdicts, again.stderr


class TestBlind:
    ARGUMENTS = ("compare", "-m", "nano", "-e", "low,high", *GREEDY, "-o", "votes.jsonl", "--blind")

    def test_names_are_revealed_after_the_last_vote(self, tmp_path: Path) -> None:
        with Terminal(*self.ARGUMENTS, SUM, "What is 12 plus 30?", cwd=tmp_path, columns=100) as screen:
            screen.wait("1 of 2(.|\n)*Which is better")
            assert "· low" not in screen.text.partition("1 of 2")[2]
            screen.enter("what?")
            screen.wait(lambda text: text.count("Which is better") == 2)
            screen.enter("a")
            screen.wait("2 of 2(.|\n)*Which is better")
            screen.enter("t")
            screen.wait("equally good 1")
            assert screen.end() == 0
        votes = kept(tmp_path / "votes.jsonl", "vote")
        assert [each["vote"] for each in votes] == ["first", "tie"]

    @pytest.mark.slow
    def test_a_contestant_that_fails_does_not_stop_the_vote(self, tmp_path: Path) -> None:
        broken = small_model(tmp_path / "no-template.gguf", "qwen3")
        models = ("-m", f"nano,{broken}", "-m", smollm2())
        with Terminal("compare", *models, *GREEDY, SUM, "-o", "v.jsonl", "--blind", cwd=tmp_path) as screen:
            screen.wait("1 of 1(.|\n)*Which is better")
            screen.press("\x04")
            screen.wait("1 of 1 pairs have no vote")
            assert screen.end() == 3

    def test_a_vote_survives_a_kill_and_the_rest_is_asked_later(self, tmp_path: Path) -> None:
        with Terminal(*self.ARGUMENTS, SUM, "What is 12 plus 30?", cwd=tmp_path) as screen:
            screen.wait("1 of 2(.|\n)*Which is better")
            screen.enter("x")
            screen.wait("2 of 2(.|\n)*Which is better")
            os.kill(screen.process.pid, signal.SIGKILL)
        assert [each["vote"] for each in kept(tmp_path / "votes.jsonl", "vote")] == ["bad"]
        with Terminal(*self.ARGUMENTS, SUM, "What is 12 plus 30?", "--resume", cwd=tmp_path) as screen:
            screen.wait("1 of 1(.|\n)*Which is better")
            screen.press("\x03")
            screen.wait("1 of 1 pairs have no vote; --resume continues")
            screen.wait("both bad 1")
            assert screen.end() == 130
        assert [each["vote"] for each in kept(tmp_path / "votes.jsonl", "vote")] == ["bad"]


@pytest.mark.parametrize(("columns", "beside"), [(120, True), (60, False)])
def test_answers_are_side_by_side_where_the_terminal_is_wide(
    tmp_path: Path, columns: int, beside: bool
) -> None:
    efforts = ("-m", "nano", "-e", "low,high")
    with Terminal(
        "compare", *GREEDY, *efforts, NORWAY, "-n", 200, cwd=tmp_path, columns=columns, rows=50
    ) as screen:
        screen.wait("speed(.|\n)*tokens/s(.|\n)*tokens/s")
        screen.settle()
        lines = [line for line in screen.text.splitlines() if "The capital of Norway is Oslo" in line]
        assert len(lines) == (1 if beside else 2)
        assert max(map(len, screen.lines)) <= columns
