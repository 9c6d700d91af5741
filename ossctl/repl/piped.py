"""A chat without a terminal: each line is a message, and standard output gets the answers only."""

import sys
from collections.abc import Iterator
from signal import SIGINT

from ossctl.app.user_text import check_stdin, decoded
from ossctl.errors import Interrupted, OssctlError, UsageError
from ossctl.repl.commands import all_commands
from ossctl.repl.repl import Repl
from ossctl.repl.setup import Leave, Setup
from ossctl.repl.surface import Surface
from ossctl.repl.terminal import Signals
from ossctl.repl.view import PlainView
from ossctl.text import one_line


def run_piped(setup: Setup) -> OssctlError | None:
    """Run every line of standard input; return the first error, which does not end the chat.

    Raises what loading the model raises, UsageError if standard input is closed or cannot be read,
    Interrupted and OutputLost.
    """
    signals = Signals(setup.chat.stop)
    check_stdin()
    view = _AnswerView(sys.stdout, sys.stderr, setup.reasoning)
    surface = Surface(lambda: view, _write_line, interactive=False)
    registry = all_commands()
    repl = Repl(setup, surface, registry, signals)
    with signals:
        try:
            repl.warn_unsaved()
            repl.load()
            for number, data in _lines():
                try:
                    line = decoded(data, f"line {number} of standard input")
                except UsageError as error:
                    repl.report(error)
                    continue
                if not setup.obeys and registry.find(line.partition(" ")[0]) is not None:
                    repl.say(f"'{one_line(line)}' is sent as a message; --commands runs slash commands.")
                repl.handle(line)
        except Leave:
            pass
        except KeyboardInterrupt:
            raise Interrupted(SIGINT) from None
        finally:
            setup.model.close()
    return repl.first_error


class _AnswerView(PlainView):
    """Without statistics."""

    def note(self, text: str) -> None:
        pass


def _write_line(line: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _raw_lines() -> Iterator[bytes]:
    try:
        yield from sys.stdin.buffer
    except OSError as error:
        raise UsageError(f"cannot read standard input: {error.strerror}") from None


def _lines() -> Iterator[tuple[int, bytes]]:
    """The lines of standard input with their numbers, from 1.

    A backslash at the end of a line joins it with the next one; both have the first one's number.
    """
    joined: list[bytes] = []
    for number, data in enumerate(_raw_lines(), start=1):
        line = data.rstrip(b"\r\n")
        joined.append(line.removesuffix(b"\\"))
        if not line.endswith(b"\\"):
            yield number - len(joined) + 1, b"\n".join(joined)
            joined.clear()
    if joined:
        yield number - len(joined) + 1, b"\n".join(joined)
