"""The one place that writes to the terminal: data to stdout, everything else to stderr."""

import json
import logging
import os
import sys
from collections.abc import Iterable
from typing import Any

from ossctl.errors import OssctlError, OutputClosed


def say(text: str) -> None:
    """A line for the user, on stderr."""
    if sys.stderr is not None:  # `2>&-`
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def print_json(document: dict[str, Any]) -> None:
    """The one JSON document of a command, on stdout; its "schema" says what its fields are."""
    put(json.dumps(document, indent=2, ensure_ascii=False))


def print_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Lines of aligned columns, on stdout."""
    lines = [*([head] if head else []), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        put("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def put(*lines: str) -> None:
    """Lines of data, on stdout. Raises OutputClosed."""
    try:
        for line in lines:
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at exit
        raise OutputClosed from None


def somebody_to_ask() -> bool:
    """Whether a question would be seen and could be answered."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def report(error: OssctlError) -> None:
    """What happened and what to do next, a line each."""
    say(f"ossctl: {error.message}")
    if error.hint:
        say(error.hint)


def show_log(verbosity: int) -> None:
    """Send the log to stderr: nothing, -v, or everything with -vv."""
    level = {0: logging.CRITICAL, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    logging.basicConfig(level=level, format="%(name)s: %(message)s", stream=sys.stderr)
