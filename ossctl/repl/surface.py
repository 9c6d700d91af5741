"""Where the user sees a chat and is asked: a terminal, or standard streams."""

from collections.abc import Callable, Sequence
from functools import cached_property

from ossctl.repl.terminal import ask
from ossctl.repl.view import View
from ossctl.text import harmless


class Surface:
    """`write_line` shows a line that is not part of an answer. `interactive`: the user can be asked."""

    def __init__(
        self, make_view: Callable[[], View], write_line: Callable[[str], None], *, interactive: bool
    ) -> None:
        self.interactive = interactive
        self._make_view = make_view
        self._write_line = write_line

    @cached_property
    def view(self) -> View:
        """Shows answers. Created with the first one, because its imports are slow."""
        return self._make_view()

    def say(self, *lines: str) -> None:
        """Show lines to the user, apart from the answers."""
        for line in lines:
            self._write_line(harmless(line))

    def ask(self, question: str) -> str:
        """Read a line after a question. Raises KeyboardInterrupt at Ctrl-C."""
        return ask(question)

    def choose(self, question: str, choices: Sequence[str], default: str) -> str:
        """Let the user pick one of `choices` by its start; `default` if they cannot be asked."""
        if not self.interactive:
            return default
        letters = "/".join(f"[{choice[0]}]{choice[1:]}" for choice in choices)
        self.say(question)
        while True:
            try:
                given = ask(f"{letters}: ").lower()
            except KeyboardInterrupt:
                self.say("")
                return default
            for choice in choices:
                if given and choice.startswith(given):
                    return choice
            if not given:
                return default
