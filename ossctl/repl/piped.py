"""The chat off a terminal: a line is a turn, and standard output has the answers alone."""

import sys
from collections.abc import Iterator
from signal import SIGINT

from ossctl.app.user_text import decoded
from ossctl.errors import Interrupted, OssctlError, OutputClosed
from ossctl.repl.commands import all_commands
from ossctl.repl.repl import Repl, tell_on_stderr
from ossctl.repl.setup import Leave, Setup, Surface
from ossctl.repl.terminal import Signals, silence
from ossctl.repl.view import PlainView


def run_piped(setup: Setup) -> OssctlError | None:
    """Answer every line of standard input; the first error of a turn, which the others went on after.

    Raises what loading the model raises, UsageError for what is no text, Interrupted.
    """
    signals = Signals(setup.chat.stop)
    view = _AnswersAlone(sys.stdout, sys.stderr, setup.reasoning)
    surface = Surface(lambda: view, tell_on_stderr, interactive=False)
    repl = Repl(setup, surface, all_commands(), signals)
    with signals:
        setup.models.begin(lambda: None)
        try:
            if setup.chat.book.problem:
                repl.say(f"This chat is not saved: {setup.chat.book.problem}")
            repl.ready()
            for message in _messages():
                repl.handle(message)
        except Leave:
            pass
        except KeyboardInterrupt:
            raise Interrupted(SIGINT) from None
        except BrokenPipeError:
            silence(1)
            raise OutputClosed from None
        finally:
            setup.models.close()
    return repl.failure


class _AnswersAlone(PlainView):
    def note(self, text: str) -> None:
        """Nothing: a script did not ask for it."""


def _messages() -> Iterator[str]:
    """The lines; one that ends with a backslash goes on in the next."""
    message: list[str] = []
    for data in sys.stdin.buffer:
        line = decoded(data, "standard input").rstrip("\r\n")
        if line.endswith("\\"):
            message.append(line[:-1])
            continue
        yield "\n".join([*message, line])
        message.clear()
    if message:
        yield "\n".join(message)
