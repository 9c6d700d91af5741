"""`ossctl run`: only the answer on stdout, everything else on stderr, and the exit codes."""

import itertools
import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ossctl.app.inference.finish import is_refusal
from ossctl.app.user_text import first_code_block
from ossctl.cli.main import app
from tests.support.chat_templates import FAMILIES
from tests.support.command import Result, command, environment, ossctl, start
from tests.support.models import smollm2

GREEDY = ("-t", 0, "--threads", 1)
SMOL = ("-m", smollm2(), *GREEDY)
HI = ("Say hi.", "-n", 30)


def said_by(folder: Path, *arguments: object) -> str:
    """The answer as `--json` gives it."""
    result = ossctl("run", *SMOL, "--json", *arguments, cwd=folder)
    return str(json.loads(result.stdout)["answer"])


def test_the_answer_and_nothing_else_is_on_stdout(tmp_path: Path) -> None:
    result = ossctl("run", *SMOL, *HI, cwd=tmp_path)
    assert result == Result(0, said_by(tmp_path, *HI) + "\n", "")


def test_piped_text_is_attached_to_the_prompt(tmp_path: Path) -> None:
    piped = ossctl("run", *SMOL, "-n", 6, "Repeat this:", cwd=tmp_path, stdin=b"pears\n")
    asked = ossctl("run", *SMOL, "-n", 6, "Repeat this:\n\n```\npears\n```", cwd=tmp_path)
    assert piped.stdout == asked.stdout
    alone = ossctl("run", *SMOL, "-n", 6, cwd=tmp_path, stdin=b"Say hi.\n")
    assert alone.stdout == ossctl("run", *SMOL, "-n", 6, "Say hi.", cwd=tmp_path).stdout


def test_a_file_and_a_system_message_from_a_file_reach_the_model(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("pears\n", "utf-8")
    (tmp_path / "system.txt").write_text("You are terse.\n", "utf-8")
    short = ossctl("run", *SMOL, "-n", 8, "-f", "list.txt", "-s", "@system.txt", "Repeat", cwd=tmp_path)
    long = ossctl(
        "run", *SMOL, "-n", 8, "-s", "You are terse.", "Repeat\n\nlist.txt:\n```\npears\n```", cwd=tmp_path
    )
    assert short.stdout == long.stdout != ""


def test_json_has_the_answer_and_all_settings_to_repeat_it(tmp_path: Path) -> None:
    first = ossctl("run", "-m", smollm2(), "--json", "Name a colour.", "-n", 12, cwd=tmp_path)
    document = json.loads(first.stdout)
    assert document["schema"] == "ossctl.run/1"
    assert document["finish_reason"] == ("length" if first.code == 6 else "stop")
    assert document["usage"]["completion_tokens"] <= 12
    assert document["settings"]["temperature"] == 1.0
    assert document["model"].startswith("Smollm2")
    assert {"reasoning", "tool_calls", "seconds", "load_seconds"} <= set(document)
    again = ossctl(
        "run", "-m", smollm2(), "Name a colour.", "-n", 12, "--seed", document["seed"], cwd=tmp_path
    )
    assert again.stdout == document["answer"].removesuffix("\n") + "\n"


def test_a_cut_answer_is_exit_code_6_and_reported(tmp_path: Path) -> None:
    result = ossctl("run", *SMOL, "Tell me a story.", "-n", 1, cwd=tmp_path)
    assert result.code == 6
    assert len(result.stdout.split()) == 1
    assert result.said == ["ossctl: the answer was cut off at 1 token", "Raise --max-tokens or --ctx."]


def test_an_empty_answer_is_exit_code_1_and_reported(tmp_path: Path) -> None:
    answer = said_by(tmp_path, *HI)
    result = ossctl("run", *SMOL, *HI, "--stop", answer[:1], cwd=tmp_path)
    assert (result.code, result.stdout) == (1, "")
    assert result.said[0] == "ossctl: the model gave no answer"


def test_a_model_that_repeats_itself_is_exit_code_7(tmp_path: Path, byte_model_path: Path) -> None:
    result = ossctl("run", "-m", byte_model_path, "--raw", *GREEDY, "What is this?", cwd=tmp_path)
    assert result.code == 7
    assert "ossctl: the model repeated itself and was stopped" in result.said


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("I’m sorry, but I can’t help with that.", True),  # noqa: RUF001 (as gpt-oss writes it)
        ("I'm sorry, but I can't comply with that.\n", True),
        ("I am sorry, but I cannot provide that.", True),
        ("I'm sorry, but I can't find that file.\n\nHere is another way: use `find`.", False),
        ("He said: I'm sorry, but I can't help with that.", False),
        ("I'm sorry to hear that!", False),
    ],
)
def test_a_refusal_is_exit_code_8(answer: str, refused: bool) -> None:
    assert is_refusal(answer) is refused


def test_only_the_first_code_block_is_printed(tmp_path: Path) -> None:
    asked = ("Write a Python program that prints 1, in a code block.", "-n", 120)
    block = first_code_block(said_by(tmp_path, *asked))
    assert block
    assert ossctl("run", *SMOL, *asked, "-x", cwd=tmp_path).stdout == block


def test_an_answer_without_a_code_block_prints_nothing_and_loses_nothing(tmp_path: Path) -> None:
    result = ossctl("run", *SMOL, *HI, "-x", cwd=tmp_path)
    assert (result.code, result.stdout) == (1, "")
    answer = said_by(tmp_path, *HI)
    assert result.said == [
        *answer.splitlines(),
        "ossctl: the answer has no code block",
        "The whole answer is on stderr.",
    ]


def test_a_cut_answer_without_a_code_block_is_reported_as_cut(tmp_path: Path) -> None:
    result = ossctl("run", *SMOL, "Tell me a story.", "-n", 2, "-x", cwd=tmp_path)
    assert (result.code, result.stdout) == (6, "")
    assert "ossctl: the answer was cut off at 2 tokens" in result.said


def test_an_output_file_is_written_atomically(tmp_path: Path) -> None:
    target = tmp_path / "answer.txt"
    target.write_text("old", "utf-8")
    result = ossctl("run", *SMOL, *HI, "-o", target, cwd=tmp_path)
    assert (result.code, result.stdout) == (0, "")
    assert target.read_text("utf-8") == said_by(tmp_path, *HI) + "\n"
    assert not list(tmp_path.glob(".answer*"))


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="stdout has no name here")
@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_an_answer_for_stdout_takes_the_place_of_nothing(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out.txt"
    out.write_text("before\n", "utf-8")
    with out.open("ab") as stdout:
        subprocess.run(
            command("run", *SMOL, *HI, "-o", name),
            cwd=tmp_path,
            env=environment(tmp_path),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            timeout=60,
            check=True,
        )
    assert out.read_text("utf-8") == f"before\n{said_by(tmp_path, *HI)}\n"
    assert not (tmp_path / "-").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_an_answer_that_cannot_be_written_to_its_file_is_printed(tmp_path: Path) -> None:
    result = ossctl("run", *SMOL, *HI, "-o", "/dev/full", cwd=tmp_path)
    answer = said_by(tmp_path, *HI)
    error = "ossctl: cannot write /dev/full: No space left on device\nThe answer is on stderr.\n"
    assert result == Result(1, "", f"{answer}\n{error}")


def test_a_run_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "answer.txt"
    target.write_text("old", "utf-8")
    result = ossctl("run", *SMOL, "word " * 9000, "-o", target, cwd=tmp_path)
    assert result.code == 2
    assert "the prompt has" in result.stderr
    assert target.read_text("utf-8") == "old"


def test_several_answers_differ_and_are_separated(tmp_path: Path) -> None:
    three = ossctl(
        "run", "-m", smollm2(), "Name a colour.", "-n", 8, "--n", 3, "--seed", 7, "--json", cwd=tmp_path
    )
    answers = json.loads(three.stdout)["answers"]
    assert [answer["seed"] for answer in answers] == [7, 8, 9]
    texts = [answer["answer"] for answer in answers]
    assert len(set(texts)) == 3
    plain = ossctl("run", "-m", smollm2(), "Name a colour.", "-n", 8, "--n", 3, "--seed", 7, cwd=tmp_path)
    assert plain.stdout == "---\n".join(text if text.endswith("\n") else text + "\n" for text in texts)


def test_a_schema_is_followed_and_incomplete_json_is_not_printed(tmp_path: Path) -> None:
    schema = json.dumps({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
    (tmp_path / "schema.json").write_text(schema, "utf-8")
    for given in (schema, "schema.json"):
        whole = ossctl("run", *SMOL, "Give a number.", "-n", 40, "--schema", given, cwd=tmp_path)
        assert whole.code == 0
        assert isinstance(json.loads(whole.stdout)["a"], int)
    half = ossctl("run", *SMOL, "Give a number.", "-n", 2, "--schema", schema, cwd=tmp_path)
    assert (half.code, half.stdout) == (6, "")
    assert "The JSON is incomplete and was not printed." in half.stderr


def test_an_answer_can_be_a_choice_a_regex_or_a_grammar(tmp_path: Path) -> None:
    (tmp_path / "list.lark").write_text('start: item (", " item)~2\nitem: /[a-z]+/', "utf-8")
    ask = ("run", *SMOL, "Is the sky blue?")
    assert ossctl(*ask, "--choice", "Yes.", "--choice", "No.", cwd=tmp_path).stdout in ("Yes.\n", "No.\n")
    number = ossctl(*ask, "--regex", "[0-9]{2}", "--repetition-penalty", 1.1, "--json", cwd=tmp_path)
    document = json.loads(number.stdout)
    assert re.fullmatch("[0-9]{2}", document["answer"])
    assert document["settings"]["repetition_penalty"] == 1.1
    words = ossctl(*ask, "--grammar", "list.lark", "-n", 2, cwd=tmp_path)
    assert (words.code, words.stdout) == (6, "")
    assert "The answer is incomplete and was not printed." in words.stderr


def test_a_format_that_does_not_compile_is_an_error_before_the_model_loads(tmp_path: Path) -> None:
    (tmp_path / "bad.lark").write_text("start: word", "utf-8")
    for arguments in (("run", "hi"), ("batch", "in.txt")):
        (tmp_path / "in.txt").write_text("hi")
        failed = ossctl(*arguments, "-m", "nothing.gguf", "--grammar", "bad.lark", cwd=tmp_path)
        assert failed.code == 2
        assert 'bad.lark: at 1(8): unknown name: "word"' in failed.stderr


def test_raw_text_reaches_the_model_unchanged(tmp_path: Path) -> None:
    template = "<|im_start|>user\nSay hi.<|im_end|>\n<|im_start|>assistant\n"
    system = (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    )
    raw = ossctl("run", *SMOL, "--raw", "-n", 30, cwd=tmp_path, stdin=(system + template).encode())
    assert raw.stdout == ossctl("run", *SMOL, *HI, cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--raw", "-s", "x", "hi"), "--system cannot be used with --raw"),
        (("--top-p", 2, "hi"), "--top-p is 2.0, must be from 0 to 1"),
        (("--stop", "", "hi"), "--stop is an empty text"),
        (("--schema", "{", "hi"), "--schema is not valid JSON"),
        (("--schema", "nothing.json", "hi"), "cannot read nothing.json"),
        (("--regex", "a(b", "hi"), "--regex: unclosed group"),
        (("--grammar", "nothing.lark", "hi"), "cannot read nothing.lark"),
        (("--regex", "a", "--choice", "a", "hi"), "--regex and --choice cannot be combined"),
        (("--choice", "", "hi"), "--choice: it is empty"),
        (("--choice", "a", "--raw", "hi"), "--choice cannot be used with --raw"),
        (("--frequency-penalty", 3, "hi"), "--frequency-penalty is 3.0, must be from -2 to 2"),
        (("-s", "@nothing.txt", "hi"), "cannot read nothing.txt"),
        (("-f", "nothing.txt", "hi"), "cannot read nothing.txt"),
        (("--tool", "weather", "hi"), "expected NAME=FILE"),
        (("--tool", "a b=x.json", "hi"), "the name must be 1 to 64 letters"),
        (("--tool-cmd", "x=no-such-program", "-y", "hi"), "there is no program no-such-program"),
        (("--tool-cmd", "x=python", "hi"), "there is no terminal to ask on"),
        (("--n", 2, "--tool-cmd", "x=python", "-y", "hi"), "--n cannot be used with --tool-cmd"),
        (("--tool-rounds", 3, "hi"), "--tool-rounds needs functions that run here"),
        (("--mcp-tools", "files_*", "hi"), "--mcp-tools needs --mcp"),
        (("--n", 2, "--python", "hi"), "--n cannot be used with --python"),
        (("--raw", "--files", ".", "hi"), "--files cannot be used with --raw"),
        (("-e", "high", "hi"), "--effort is not for"),
        (("--think", "off", "hi"), "--think is not for"),
        (("--template", "no.jinja", "hi"), "cannot read no.jinja"),
        (
            ("--template-var", "sytem=x", "hi"),
            "template variable sytem: the model's",
        ),
        (
            ("--template-var", "enable_thinking=false", "--raw", "hi"),
            "--template-var cannot be used with --raw",
        ),
        (("-o", "no/folder/x", "hi"), "there is no folder"),
        (("-o", ".", "hi"), "is a directory"),
        ((), "there is no prompt"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_clear_line(
    tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    result = ossctl("run", *SMOL, *arguments, cwd=tmp_path)
    assert (result.code, result.stdout) == (2, "")
    assert message in result.said[0]
    assert len(result.said) <= 2


@pytest.mark.parametrize(
    "content", ['{"function": "abc"}', '{"function": 3}', '{"function": [1]}', '{"parameters": "abc"}', "[1]"]
)
def test_a_function_of_the_wrong_type_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    result = ossctl("run", *SMOL, "--tool", "x=x.json", "hi", cwd=tmp_path)
    assert (result.code, result.stdout) == (2, "")
    assert result.said[0].startswith("ossctl: x.json")


def test_a_template_and_its_variables_replace_the_models_own(tmp_path: Path, byte_model_path: Path) -> None:
    (tmp_path / "qwen.jinja").write_text(FAMILIES["Qwen3"], "utf-8")
    given = ("-n", 1, "--template", "qwen.jinja", "--template-var", "enable_thinking=false", "--json", "Hi")
    for model in (smollm2(), byte_model_path):
        found = json.loads(ossctl("run", "-m", model, "--threads", 1, *given, cwd=tmp_path).stdout)
        assert found["settings"]["template_variables"] == {"enable_thinking": False}
        assert found["reasoning"] == ""
    unknown = ossctl("run", *SMOL, "--template", "qwen.jinja", "-e", "low", "Hi", cwd=tmp_path)
    (line,) = unknown.said
    assert unknown.code == 2
    assert re.fullmatch("ossctl: --effort is not for Smollm2 .*: its chat format has no such setting", line)


@pytest.mark.parametrize(("data", "message"), [(b"\x7fELF\0\1", "is binary"), (b"caf\xe9", "is not UTF-8")])
def test_piped_bytes_that_are_not_text_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    result = ossctl("run", *SMOL, "What is this?", cwd=tmp_path, stdin=data)
    assert (result.code, result.stdout) == (2, "")
    assert f"cannot read standard input: it {message}" in result.said[0]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupt_keeps_the_answer_so_far_and_is_exit_code_130(tmp_path: Path) -> None:
    with start("run", *SMOL, "Count to one thousand, in words.", cwd=tmp_path) as run:
        run.end_input()
        assert run.process.stdout is not None
        first = run.process.stdout.read(1)
        run.process.send_signal(signal.SIGINT)
        began = time.monotonic()
        result = run.finish()
    assert time.monotonic() - began < 3
    assert first.strip()
    assert result.code == 130
    assert result.said == ["ossctl: interrupted"]


def test_a_reader_that_closes_the_pipe_ends_the_run_quietly(tmp_path: Path) -> None:
    with start("run", *SMOL, "Count to one thousand, in words.", cwd=tmp_path) as run:
        run.end_input()
        assert run.process.stdout is not None
        run.process.stdout.read(1)
        run.close_output()
        run.process.stdout = None
        result = run.finish()
    assert (result.code, result.stderr) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal")
def test_a_missing_prompt_on_a_terminal_is_an_error_and_does_not_wait(tmp_path: Path) -> None:
    import pexpect

    child = pexpect.spawn(
        sys.executable, ["-m", "ossctl", "run", "-m", str(smollm2())], env=environment(tmp_path), timeout=20
    )
    child.expect("there is no prompt")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2


@pytest.mark.parametrize("count", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_stdout_is_the_answer_whatever_the_options(
    tmp_path: Path,
    byte_model_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    """Random combinations against what `--json` says the answer is."""
    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", None)
    seed = random.randrange(2**32)
    print(f"seed {seed}", file=sys.stderr)
    draw = random.Random(seed)
    choices: list[list[tuple[object, ...]]] = [
        [(), ("-s", "Be brief.")],
        [("-n", draw.randrange(1, 60)) for _ in range(4)],
        [("-t", 0), ("-t", 0.7), ("-t", 1.5)],
        [(), ("--top-k", 20)],
        [(), ("--top-p", 0.8)],
        [(), ("--min-p", 0.1)],
        [("-e", "low"), ("-e", "medium"), ("-e", "high"), ("--max-reasoning-tokens", 5)],
        [(), ("--show-reasoning",)],
        [(), ("--stop", "e"), ("--stop", ". ")],
        [(), ("-v",)],
        [("Hello!",), ("What is 2 + 3?",), ("What", "is", "up?"), ("\x1b[31mred\x1b[0m",)],
    ]
    combinations = list(itertools.islice(iter(lambda: [draw.choice(of) for of in choices], None), count))
    for combination in combinations:
        arguments = [str(part) for parts in combination for part in parts]
        command = [
            "run",
            "-m",
            str(byte_model_path),
            "--threads",
            "1",
            "--seed",
            str(draw.randrange(1000)),
            *arguments,
        ]
        printed = in_process(command, capfd)
        document = json.loads(in_process([*command, "--json"], capfd))
        answer = document["answer"]
        assert printed == (answer if answer.endswith("\n") or not answer else answer + "\n"), command


def in_process(command: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """What a command writes to file descriptor 1."""
    with pytest.raises(SystemExit):
        app(command)
    return capfd.readouterr().out
