"""What is printed where, and that no control character from outside reaches a terminal."""

import errno
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ossctl.app.library.resolve import has_nano
from ossctl.app.run.options import RunOptions
from ossctl.cli.main import main
from ossctl.cli.output import Output, columns
from ossctl.cli.streams import _Stdout
from ossctl.errors import OutputClosed, UsageError
from tests.support.command import Result, command, environment, launch, ossctl, small_model, write_jsonl
from tests.support.hub import Hub
from tests.support.models import byte_gpt_oss, smollm2

TITLE = "\x1b]0;owned\x07"  # sets the title of a terminal's window
SHOWN = "�]0;owned�"

SHORT = ("-m", smollm2(), "--ctx", 512, "--threads", 1, "-t", 0, "-n", 3)

WEATHER = {
    "description": "Get the weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOL = f"""
import sys
sys.stdin.read()
print({TITLE!r} + "rain")
"""


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "stdout", "stderr"),
    [
        (Output(), "one\ntwo\n", "note\nwarning\nossctl: wrong\nfix it\n"),
        (Output(as_json=True), '{\n  "schema": "x/1"\n}\n', "note\nwarning\nossctl: wrong\nfix it\n"),
        (Output(quiet=True), "one\ntwo\n", "warning\nossctl: wrong\nfix it\n"),
    ],
)
def test_each_mode_prints_its_own(
    out: Output, stdout: str, stderr: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out.json({"schema": "x/1"})
    out.text("one")
    out.table([("two", "")])
    out.note("note")
    out.warning("warning")
    out.error("wrong", "fix it")
    assert capsys.readouterr() == (stdout, stderr)


@pytest.mark.parametrize(
    ("redirection", "message"),
    [
        ("<&-", "standard input is closed"),
        ("0>only-written", "cannot read standard input: Bad file descriptor"),
    ],
)
@pytest.mark.parametrize(
    "arguments",
    [
        ("batch", "-"),
        ("batch", "-", "--dry-run"),
        ("chat",),
        ("compare", "-f", "-"),
        ("eval", "ppl", "-"),
        ("run", "--serve-stdin"),
    ],
    ids=" ".join,
)
def test_a_standard_input_that_cannot_be_read_is_said_before_a_model_is_loaded(
    arguments: tuple[str, ...], redirection: str, message: str, tmp_path: Path
) -> None:
    shell = ["sh", "-c", f'exec "$0" "$@" {redirection}', *command(*arguments, "-m", smollm2())]
    done = subprocess.run(shell, cwd=tmp_path, env=environment(tmp_path), capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().splitlines()[0] == f"ossctl: {message}"


@pytest.mark.parametrize(
    ("redirection", "message"),
    [("<&-", "no model is called none"), ("0>new", "cannot read standard input: Bad file descriptor")],
)
def test_a_run_needs_no_standard_input(redirection: str, message: str, tmp_path: Path) -> None:
    shell = ["sh", "-c", f'exec "$0" "$@" {redirection}', *command("run", "hi", "-m", "none")]
    done = subprocess.run(shell, cwd=tmp_path, env=environment(tmp_path), capture_output=True, check=False)
    assert done.stderr.decode().splitlines()[0] == f"ossctl: {message}"


def test_a_closed_standard_input_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert not Output().can_ask


def test_a_terminal_gets_no_control_characters_and_a_pipe_gets_all_bytes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Output().write(TITLE)
    Output().warning(TITLE)
    assert capsys.readouterr() == (TITLE, f"{TITLE}\n")
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    Output().write(TITLE)
    Output().warning(TITLE)
    assert screen.getvalue() == f"{SHOWN}{SHOWN}\n"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_what_stdout_cannot_encode_is_escaped(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stdout)
    document = {"schema": "test/1", "name": "m\udce9é.gguf"}
    Output(as_json=True).json(document)
    assert json.loads(stdout.buffer.getvalue()) == document
    Output().text("m\udce9.gguf")
    assert stdout.buffer.getvalue().endswith(b"}\nm\\udce9.gguf\n")


@pytest.mark.parametrize(("typed", "agreed"), [("y\n", True), (" YES\n", True), ("\n", False), ("", False)])
def test_only_a_yes_is_a_yes(
    typed: str, agreed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert Output().confirm("Delete it?") is agreed
    assert capsys.readouterr() == ("", f"Delete it? [y/N] {'' if typed else chr(10)}")


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert columns([("model", "size"), ("a", "10"), ("b", "9")], right=(1,)) == [
        "model  size",
        "a        10",
        "b         9",
    ]
    assert columns([]) == []


@pytest.mark.parametrize(("width", "on_screen"), [("11", "a  bb  last\n"), ("10", "a  bb\n")])
def test_a_narrow_terminal_gets_a_table_without_its_optional_columns(
    monkeypatch: pytest.MonkeyPatch, width: str, on_screen: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    for stdout, shown in ((Screen(), on_screen), (io.StringIO(), "a  bb  last\n")):
        monkeypatch.setattr(sys, "stdout", stdout)
        Output().table([("a", "bb", "last")], optional=1)
        assert stdout.getvalue() == shown


def test_a_closed_stderr_is_silent_and_a_closed_stdout_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "stdout", None)
    Output().warning("a warning")
    with pytest.raises(UsageError, match="standard output is closed"):
        Output().text("data")


class WindowsPipe(io.FileIO):
    """A pipe whose reader is gone, as Windows reports it."""

    def write(self, data: Any) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


class WindowsStdout(_Stdout, WindowsPipe):
    """Standard output that such a pipe is."""


def test_a_pipe_without_a_reader_is_no_error_on_windows_either() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with WindowsStdout(writing, "w") as stdout, pytest.raises(OutputClosed):
        stdout.write(b"text")


@contextmanager
def unwritable(kind: str) -> Iterator[int]:
    """A descriptor that no text can be written to: a full device, or a pipe without a reader."""
    if kind == "full device":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, descriptor = os.pipe()
        os.close(reader)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def finished(
    *arguments: object,
    cwd: Path,
    stdin: bytes = b"",
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> Result:
    with launch(arguments, cwd, streams=(subprocess.PIPE, stdout, stderr)) as process:
        output, errors = process.communicate(stdin, timeout=60)
    return Result(process.wait(), (output or b"").decode(), (errors or b"").decode())


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
class TestUnwritableStreams:
    """A stream that cannot be written costs what is printed there, and nothing else."""

    @pytest.mark.parametrize("kind", ["full device", "pipe without a reader"])
    @pytest.mark.parametrize(
        "arguments",
        [
            ("run", *SHORT, "-vv", "Count."),
            ("batch", "in.jsonl", *SHORT, "-vv"),
            ("chat", *SHORT, "-vv"),
        ],
        ids=lambda arguments: str(arguments[0]),
    )
    def test_a_lost_stderr_changes_no_answer(
        self, kind: str, arguments: tuple[object, ...], tmp_path: Path
    ) -> None:
        write_jsonl(tmp_path / "in.jsonl", *({"id": str(n), "prompt": "Count."} for n in range(20)))
        stdin = b"Count.\n" * 3 if arguments[0] == "chat" else b""
        expected = finished(*arguments, cwd=tmp_path, stdin=stdin)
        assert expected.stdout
        with unwritable(kind) as stderr:
            result = finished(*arguments, cwd=tmp_path, stdin=stdin, stderr=stderr)
        assert (result.code, len(result.stdout.splitlines())) == (
            expected.code,
            len(expected.stdout.splitlines()),
        )

    @pytest.mark.parametrize("command", [("--help",), ("batch", "-h"), ("--version",), ("config", "path")])
    def test_a_lost_stdout_is_an_error_in_one_line(self, command: tuple[str, ...], tmp_path: Path) -> None:
        with unwritable("full device") as stdout:
            result = finished(*command, cwd=tmp_path, stdout=stdout)
        assert result.code == 1
        assert result.stderr == "ossctl: cannot write standard output: No space left on device\n"
        with unwritable("pipe without a reader") as stdout:
            result = finished(*command, cwd=tmp_path, stdout=stdout)
        assert (result.code, result.stderr) == (0, "")

    def test_a_chat_ends_with_its_stdout(self, tmp_path: Path) -> None:
        with unwritable("full device") as stdout:
            result = finished("chat", *SHORT, cwd=tmp_path, stdout=stdout, stdin=b"Count.\n" * 3)
        assert result.code == 1
        assert result.stderr.endswith("ossctl: cannot write standard output: No space left on device\n")
        assert result.stderr.count("ossctl: ") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
class TestOnATerminal:
    """What a user's screen gets of names and texts with control characters."""

    def test_the_name_in_a_gguf_file_is_shown_without_its_control_characters(self, tmp_path: Path) -> None:
        from tests.support.terminal import Terminal

        path = byte_gpt_oss(tmp_path)
        name = b"tiny gpt-oss, random weights"
        path.write_bytes(path.read_bytes().replace(name, TITLE.encode().ljust(len(name))))
        assert TITLE in ossctl("plan", path, cwd=tmp_path).stdout
        for arguments in (("plan", path), ("run", "-m", path, "-vv", "-n", 1, "hi")):
            with Terminal(*arguments, cwd=tmp_path) as terminal:
                terminal.wait(SHOWN)
                terminal.end()
            assert TITLE.encode() not in terminal.raw

    def test_the_name_of_a_file_on_the_hub_is_shown_without_its_control_characters(
        self, tmp_path: Path
    ) -> None:
        from tests.support.terminal import Terminal

        with Hub() as hub:
            hub.add("org/model-GGUF", {f"{TITLE}.gguf": bytes(3_000_000)})
            variables = {**hub.variables, "HF_HOME": str(tmp_path / "hf")}
            with Terminal("pull", "hf:org/model-GGUF", cwd=tmp_path, variables=variables) as terminal:
                terminal.wait(rf"{SHOWN}\.gguf · 3\.0 MB")
                assert terminal.end() == 0
        assert TITLE.encode() not in terminal.raw

    @pytest.mark.skipif(not has_nano(), reason="nano is not made yet: make nano")
    def test_the_result_of_a_tool_is_shown_without_its_control_characters(self, tmp_path: Path) -> None:
        from tests.support.terminal import Terminal

        (tmp_path / "city.json").write_text(json.dumps(WEATHER), "utf-8")
        (tmp_path / "weather.py").write_text(TOOL, "utf-8")
        tool = ("--tool", "get_weather=city.json", "--tool-cmd", f"get_weather={sys.executable} weather.py")
        asked = ("run", "-m", "nano", "-t", 0, *tool, "What is the weather in Turku?")
        with Terminal(*asked, cwd=tmp_path) as terminal:
            terminal.wait(r"Run get_weather\(.*\)\?\s+\[y\]es/\[n\]o/\[a\]lways:")
            terminal.press("y\n")
            terminal.wait(rf"→ {SHOWN}rain")
            terminal.end()
        assert TITLE.encode() not in terminal.raw

    def test_the_id_of_a_request_is_shown_without_its_control_characters(self, tmp_path: Path) -> None:
        from tests.support.terminal import Terminal

        write_jsonl(tmp_path / "in.jsonl", {"id": TITLE, "prompt": "Count.", "logit_bias": {"2": -100}})
        arguments = ("batch", "in.jsonl", "-o", "out.jsonl", *small_model())
        with Terminal(*arguments, cwd=tmp_path, columns=120) as terminal:
            terminal.wait(rf"slowest .*: {SHOWN}")
            terminal.press("\x03")
            terminal.end()
        assert TITLE.encode() not in terminal.raw


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [(["-v", "-v"], True), (["-vv"], True), (["-v"], False), (["-vvv"], True), (["--", "-vv"], False)],
)
def test_a_bug_shows_its_traceback_to_those_who_ask_for_everything(
    arguments: list[str], shown: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def broken(self: RunOptions) -> None:
        raise ValueError("oops")

    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path))
    monkeypatch.setattr(RunOptions, "request", broken)
    monkeypatch.setattr("sys.argv", ["ossctl", "run", "-m", "nano", *arguments])
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    level = logging.getLogger().level
    try:
        with pytest.raises(SystemExit) as left:
            main()
    finally:
        logging.getLogger().setLevel(level)
    assert left.value.code == 1
    stderr = capsys.readouterr().err
    assert "unexpected error: ValueError: oops" in stderr
    assert ("Traceback (most recent call last)" in stderr) == shown


@pytest.mark.skipif(not has_nano(), reason="nano is not made yet: make nano")
def test_a_call_without_a_program_is_shown_and_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "city.json").write_text(json.dumps(WEATHER), "utf-8")
    asked = ("run", "-m", "nano", "-t", 0, "--tool", "get_weather=city.json", "What is the weather in Turku?")
    result = ossctl(*asked, cwd=tmp_path)
    assert (result.code, result.stdout) == (1, "")
    assert result.said[-2:] == [
        'ossctl: the model called get_weather({"city":"Turku"}) and gave no answer',
        "--tool-cmd NAME=COMMAND runs a program for a function; --json prints the call.",
    ]
