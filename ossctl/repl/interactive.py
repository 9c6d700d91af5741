"""The chat on a terminal."""

import contextlib
import shutil
import sys
from collections.abc import Sequence

from ossctl import __version__
from ossctl.errors import Interrupted
from ossctl.repl.commands import all_commands
from ossctl.repl.commands.keeping import recall
from ossctl.repl.commands.settings import SETTINGS
from ossctl.repl.completion import Candidate, candidates
from ossctl.repl.mentions import Mentions
from ossctl.repl.prompt import Prompt
from ossctl.repl.repl import Repl
from ossctl.repl.setup import Leave, Setup, Surface
from ossctl.repl.terminal import Signals, suits_rich_view, unseen_typing
from ossctl.repl.view import PlainView, ShowReasoning, View
from ossctl.repl.wrapping import wrapped

_OFFERED = 50  # sessions


def run_interactive(setup: Setup) -> None:
    """Until the user leaves. Raises Interrupted, and what loading the model raises."""
    _Terminal(setup).run()


class _Terminal:
    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._registry = all_commands()
        self._signals = Signals(self._end)
        surface = Surface(lambda: _view(setup.reasoning), _tell, interactive=True)
        self._repl = Repl(setup, surface, self._registry, self._signals)
        self._prompt = Prompt(
            setup.history, self._complete, self._toolbar, self._cleared, self._signals.check
        )
        self._mentions = Mentions(self._repl.described, self._prompt.refresh)

    def run(self) -> None:
        repl, setup = self._repl, self._setup
        with self._signals, unseen_typing():
            self._prompt.when_shown(lambda: setup.models.begin(self._model_changed))
            try:
                repl.say(f"ossctl {__version__}, with {setup.models.name}. /help shows what there is.")
                if setup.chat.book.problem:
                    repl.say(f"This chat is not saved: {setup.chat.book.problem}")
                if setup.remembered is not None:
                    recall(repl, setup.remembered)
                with contextlib.suppress(KeyboardInterrupt):  # between two prompts: the second one leaves
                    self._loop()
                self._farewell()
            finally:
                self._mentions.settle()
                setup.models.close()

    def _loop(self) -> None:
        warned = False
        while True:
            draft, self._repl.draft = self._repl.draft, ""
            try:
                text = self._ask(draft)
            except EOFError:
                return
            except KeyboardInterrupt:
                if warned:
                    return
                warned = True
                self._repl.say("Ctrl-C once more, or Ctrl-D, leaves.")
                continue
            warned = False
            try:
                self._repl.handle(text)
            except Leave:
                return

    def _ask(self, draft: str) -> str:
        self._repl.look_ahead(draft)
        try:
            return self._prompt.ask(draft)
        finally:
            self._mentions.settle()

    def _toolbar(self, text: str, cursor: int) -> list[tuple[bool, str]]:
        parts = self._repl.toolbar()
        self._repl.read_along(text[:cursor])
        return [*parts, *self._mentions.parts(text)] if self._setup.chat.is_ready else parts

    def _cleared(self) -> None:
        self._repl.editing = None

    def _farewell(self) -> None:
        session = self._setup.chat.book.session
        if session is not None and not self._setup.chat.book.problem:
            self._repl.say(f"Saved: ossctl chat --resume {session}")

    def _end(self) -> None:
        """A signal ends the chat, wherever it is."""
        self._setup.chat.stop()
        try:
            self._signals.check()
        except Interrupted as error:
            self._prompt.leave(error)

    def _model_changed(self) -> None:
        error = self._setup.models.error
        if error is not None:
            self._prompt.leave(error)
        self._prompt.refresh()
        if suits_rich_view():
            import ossctl.repl.rich_view  # noqa: F401 (so that the first answer need not wait for it)

    def _complete(self, text: str) -> list[Candidate]:
        return candidates(text, self._registry, self._offers)

    def _offers(self, kind: str) -> Sequence[tuple[str, str]]:
        chat = self._setup.chat
        match kind:
            case "session":
                return [(session.id, session.title) for session in chat.book.sessions.recent(_OFFERED)]
            case "model":
                return [(name, "") for name in self._setup.model_names()]
            case "setting":
                return list(SETTINGS.items())
            case "turn":
                return [(str(turn.number), turn.text[:60]) for turn in reversed(chat.transcript.turns)]
            case "command":
                return [(command.name, command.help) for command in self._registry.commands]
        return []


def _tell(line: str) -> None:
    sys.stdout.write(f"{wrapped(line, shutil.get_terminal_size().columns)}\n")
    sys.stdout.flush()


def _view(reasoning: ShowReasoning) -> View:
    if not suits_rich_view():
        return PlainView(sys.stdout, sys.stdout, reasoning)
    from ossctl.repl.rich_view import RichView

    return RichView(sys.stdout, reasoning)
