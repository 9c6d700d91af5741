"""The one writer of the command line: data to stdout, everything else to stderr."""

import io
import json
import logging
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from ossctl.errors import UsageError
from ossctl.text import can_encode, harmless

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Output:
    """Writes data to stdout, and notes, warnings, errors and questions to stderr.

    In JSON mode the data is one document instead of text, in quiet mode there are no notes. Model names, file
    names and tool results come from outside: on a terminal their control characters are replaced, elsewhere
    every byte is kept.
    """

    as_json: bool = False
    quiet: bool = False

    def text(self, text: str) -> None:
        """Print data, and a newline. Prints nothing in JSON mode. Raises what `write` raises."""
        if not self.as_json:
            self.write(f"{text}\n")

    def lines(self, lines: Iterable[str]) -> None:
        """Print each line as it comes. In JSON mode `lines` is not iterated."""
        if not self.as_json:
            for line in lines:
                self.text(line)

    def table(self, rows: Iterable[Sequence[str]], *, optional: int = 0) -> None:
        """Print rows in aligned columns; the last `optional` ones only if the terminal is wide enough."""
        rows = [*rows]
        lines = columns(rows)
        if optional and self.on_terminal and max(map(len, lines)) > shutil.get_terminal_size().columns:
            lines = columns([row[:-optional] for row in rows])
        self.lines(lines)

    def json(self, document: dict[str, Any]) -> None:
        """Print the document of JSON mode; its "schema" names the meaning of its fields."""
        if self.as_json:
            self.write(json_text(document, sys.stdout) + "\n")

    def write(self, text: str) -> None:
        """Write `text` to stdout as it is, in any mode, and flush it.

        Raises UsageError if stdout is closed, OutputLost if it cannot be written.
        """
        _write(_stdout(), text)

    def note(self, text: str) -> None:
        """Print a line of information. Prints nothing in quiet mode."""
        if not self.quiet:
            self.aside(f"{text}\n")

    def warning(self, text: str) -> None:
        """Print a line that the user should see before trusting the result."""
        self.aside(f"{text}\n")

    def error(self, message: str, hint: str = "") -> None:
        """Print what is wrong, and what to do about it."""
        self.aside(f"ossctl: {message}\n{hint}".rstrip("\n") + "\n")

    def aside(self, text: str) -> None:
        """Write `text` to stderr as it is, in any mode, and flush it."""
        if sys.stderr is not None:  # `2>&-`
            _write(sys.stderr, text)

    @property
    def can_ask(self) -> bool:
        """Whether the user would see a question and could answer it."""
        return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))

    def ask(self, question: str) -> str | None:
        """Ask for a line on the terminal. Returns None at the end of input."""
        self.aside(f"{question} ")
        line = sys.stdin.readline()
        if not line:
            self.aside("\n")
        return line.strip() if line else None

    def confirm(self, question: str) -> bool:
        """Ask a yes-or-no question; anything but `y` or `yes` means no."""
        answer = self.ask(f"{question} [y/N]")
        return answer is not None and answer.lower() in ("y", "yes")

    def may_delete(self, question: str) -> bool:
        """Ask before deleting something. Raises UsageError if there is no terminal to ask on."""
        if not self.can_ask:
            raise UsageError(
                "nothing was deleted: there is no terminal to ask on", "Use -y to delete without asking."
            )
        return self.confirm(question)

    @property
    def on_terminal(self) -> bool:
        """Whether stdout is a terminal."""
        return sys.stdout is not None and sys.stdout.isatty()

    @property
    def is_live(self) -> bool:
        """Whether stderr can show a progress bar that is redrawn in place."""
        return not self.quiet and sys.stderr is not None and sys.stderr.isatty()

    def console(self, *, stderr: bool = True) -> "Console":
        """Rich's console on stderr or stdout. Text from outside must go through `harmless` first."""
        from rich.console import Console

        return Console(stderr=stderr)

    def shows(self, symbols: str) -> bool:
        """Whether stdout can encode `symbols`."""
        return can_encode(sys.stdout, symbols)

    def open_stdout(self) -> None:
        """Switch stdout to UTF-8 with plain newlines on every platform. Raises UsageError if it is closed."""
        stdout = _stdout()
        if isinstance(stdout, io.TextIOWrapper):
            stdout.reconfigure(encoding="utf-8", errors="replace", newline="\n")

    def show_log(self, verbosity: int) -> None:
        """Write the log to stderr: nothing for 0, the program's own for 1, everything for 2."""
        level = {0: logging.CRITICAL, 1: logging.INFO}.get(verbosity, logging.DEBUG)
        logging.basicConfig(level=level, format="%(name)s: %(message)s", handlers=[_LogHandler(self)])


def columns(rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Rows as lines of aligned columns; those numbered in `right` are aligned to the right."""
    rows = [*rows]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if n in right else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


class _LogHandler(logging.Handler):
    """Writes log records, which may quote a model's metadata, through an `Output`."""

    def __init__(self, out: Output) -> None:
        super().__init__()
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        self._out.aside(f"{self.format(record)}\n")


def _stdout() -> TextIO:
    if sys.stdout is None:  # `>&-`
        raise UsageError("standard output is closed")
    return sys.stdout


def json_text(document: object, stream: TextIO | None) -> str:
    """Indented JSON, in ASCII if `stream` cannot encode it: a file's name need not be text."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return text if can_encode(stream, text) else json.dumps(document, indent=2)


def _write(stream: TextIO, text: str) -> None:
    text = harmless(text) if stream.isatty() else text
    try:
        stream.write(text)
    except UnicodeEncodeError:  # nothing has been written
        stream.write(text.encode(stream.encoding, "backslashreplace").decode(stream.encoding))
    stream.flush()
