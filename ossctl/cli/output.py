"""The one place that writes to the terminal: data to stdout, everything else to stderr."""

import io
import json
import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ossctl.errors import OssctlError, OutputClosed, UsageError
from ossctl.text import harmless

if TYPE_CHECKING:
    from ossctl.app.library.resolve import ModelChoice


def say(text: str) -> None:
    """A line for the user, on stderr."""
    if sys.stderr is not None:  # `2>&-`
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def print_json(document: dict[str, Any]) -> None:
    """The one JSON document of a command, on stdout; its "schema" says what its fields are."""
    put(json.dumps(document, indent=2, ensure_ascii=False))


def print_table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Lines of aligned columns, on stdout."""
    lines = [*([header] if header else []), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        put("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def put(*lines: str) -> None:
    """Lines of data, on stdout. Raises what `write` raises."""
    write("".join(f"{line}\n" for line in lines))


def somebody_to_ask() -> bool:
    """Whether a question would be seen and could be answered."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def named(choice: "ModelChoice") -> Path:
    """The file of a model, after what its user should know of it."""
    if choice.warning:
        say(choice.warning)
    return choice.path


def open_stdout() -> None:
    """Make standard output UTF-8 with plain newlines everywhere. Raises UsageError if there is none."""
    if sys.stdout is None:  # `>&-`
        raise UsageError("standard output is closed")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace", newline="\n")


def write(text: str) -> None:
    """Text that was asked for, on stdout, at once. Raises OutputClosed, OssctlError (a full disk)."""
    try:
        sys.stdout.write(_harmless(text, sys.stdout))
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        raise OutputClosed from None
    except OSError as error:
        _silence_stdout()
        raise OssctlError(f"cannot write standard output: {error.strerror}") from None


def write_aside(text: str) -> None:
    """A piece of text for the user, on stderr."""
    if sys.stderr is not None:
        sys.stderr.write(_harmless(text, sys.stderr))
        sys.stderr.flush()


def _harmless(text: str, stream: TextIO) -> str:
    return harmless(text) if stream.isatty() else text


def _silence_stdout() -> None:
    """What is still in its buffer goes nowhere, instead of failing again at the end of the process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def report(error: OssctlError) -> None:
    """What happened and what to do next, a line each."""
    say(f"ossctl: {error.message}")
    if error.hint:
        say(error.hint)


def show_log(verbosity: int) -> None:
    """Send the log to stderr: nothing, -v, or everything with -vv."""
    level = {0: logging.CRITICAL, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    logging.basicConfig(level=level, format="%(name)s: %(message)s", stream=sys.stderr)
