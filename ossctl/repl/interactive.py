"""A chat on a terminal."""

import contextlib
import shutil
import sys
from collections.abc import Sequence
from functools import partial

from ossctl import __version__
from ossctl.errors import Interrupted, OssctlError
from ossctl.repl.commands import all_commands
from ossctl.repl.commands.model_settings import SETTINGS
from ossctl.repl.commands.saved_chats import show_session
from ossctl.repl.completion import Candidate, candidates
from ossctl.repl.input_prompt import InputPrompt
from ossctl.repl.mentions import Mentions, describe_file
from ossctl.repl.repl import Repl
from ossctl.repl.setup import Leave, Setup
from ossctl.repl.surface import Surface
from ossctl.repl.terminal import Signals, hidden_typing, suits_rich_view
from ossctl.repl.toolbar import Part, toolbar
from ossctl.repl.view import PlainView, ShowReasoning, View
from ossctl.repl.wrapping import wrapped

_MAX_COMPLETED_SESSIONS = 50
_ROWS_AROUND_TEXT = 4  # an error with its hint, the last row of the text and the toolbar


def run_interactive(setup: Setup) -> None:
    """Run the chat until the user leaves. Raises Interrupted, and what loading the model raises."""
    _Terminal(setup).run()


class _Terminal:
    """The prompt's host: asks for lines and runs them."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._registry = all_commands()
        self._signals = Signals(self._end, self._suspend_prompt)
        self._failure: Exception | None = None  # of a load, as far as the user has seen it
        self._has_loaded = False
        self._warned = False  # that Ctrl-C, pressed again, leaves
        surface = Surface(lambda: _view(setup.reasoning), _write_line, interactive=True)
        self._repl = Repl(setup, surface, self._registry, self._signals)
        self._prompt = InputPrompt(setup.history, self)
        self._mentions = Mentions(self._prompt.wake)

    def run(self) -> None:
        repl, setup = self._repl, self._setup
        setup.model.on_settled = self._model_settled
        with self._signals, hidden_typing():
            try:
                repl.say(f"ossctl {__version__} with {setup.model.name}. /help lists commands and keys.")
                repl.warn_unsaved()
                if setup.resumed is not None:
                    show_session(repl, setup.resumed)
                with contextlib.suppress(KeyboardInterrupt):  # pressed twice
                    self._loop()
                self._farewell()
            finally:
                self._mentions.settle()
                setup.model.close()

    def complete(self, text: str) -> Sequence[Candidate]:
        return candidates(text, self._registry, self._values)

    def toolbar(self, text: str) -> Sequence[Part]:
        parts = toolbar(self._repl)
        if self._repl.problem and not self._prompt.edited and _fills_screen(text):
            parts.append(Part(self._repl.problem, is_warning=True))  # it has scrolled away
        return [*parts, *self._mentions.parts(text)] if self._repl.chat.is_ready else parts

    def idle(self, text: str, cursor: int) -> None:
        repl = self._repl
        repl.update_model()
        self._check_load()
        repl.follow_message(text[:cursor])
        if repl.chat.is_ready:
            measure = partial(describe_file, context=repl.chat.context, used=repl.meter.used)
            self._mentions.count(text, measure)

    def cleared(self) -> None:
        self._repl.composer.cancel_edit()

    def check(self) -> None:
        self._signals.check()
        if self._warned and self._signals.came_early:
            raise KeyboardInterrupt

    def suspend(self) -> None:
        self._signals.suspend()

    def _suspend_prompt(self) -> bool:
        return self._prompt.suspend()

    def _check_load(self) -> None:
        """Leave if the chat's first model cannot be loaded; show why another one cannot."""
        error = self._setup.model.error
        self._has_loaded = self._has_loaded or self._repl.chat.is_ready
        if error is None or error is self._failure:
            return
        self._failure = error
        if self._has_loaded:
            self._prompt.print_above(lambda: self._repl.report_any(error))
        else:
            self._prompt.leave(error)

    def _loop(self) -> None:
        """Ask for lines and run them. Ctrl-C at an empty prompt leaves if it is pressed twice in a row."""
        while True:
            try:
                with self._signals.uninterrupted():  # the prompt itself handles it as a key
                    text = self._ask(self._repl.composer.take_draft())
                self._warned = False
                self._repl.handle(text, pasted=self._prompt.pasted)
            except (EOFError, Leave):
                return
            except KeyboardInterrupt:
                if self._warned and not self._prompt.edited:
                    return
                self._warned = True
                self._repl.say("Press Ctrl-C again, or Ctrl-D, to leave.")

    def _ask(self, draft: str) -> str:
        self._repl.begin_message(draft)
        try:
            return self._prompt.ask(draft)
        except OssctlError:
            self._repl.composer.draft = self._prompt.text
            raise
        finally:
            self._mentions.settle()

    def _farewell(self) -> None:
        log = self._repl.chat.log
        if log.session is not None and not log.problem:
            self._repl.say(f"Saved: ossctl chat --resume {log.session}")

    def _end(self) -> None:
        """Called by a signal's handler, at any moment."""
        self._repl.chat.stop()
        try:
            self._signals.check()
        except Interrupted as error:
            self._prompt.leave(error)

    def _model_settled(self) -> None:
        """Called on the thread that loads the model."""
        self._prompt.wake()
        if suits_rich_view():
            import ossctl.repl.rich_view  # noqa: F401 (so that the first answer does not wait for it)

    def _values(self, kind: str) -> Sequence[tuple[str, str]]:
        chat = self._repl.chat
        match kind:
            case "session":
                sessions = chat.log.sessions.recent(_MAX_COMPLETED_SESSIONS)
                return [(session.id, session.title) for session in sessions]
            case "model" | "preset":
                names = self._setup.model_names if kind == "model" else self._setup.preset_names
                return [(name, "") for name in names()]
            case "setting":
                return list(SETTINGS.items())
            case "turn":
                return [(str(turn.number), turn.text[:60]) for turn in reversed(chat.transcript.turns)]
            case "command":
                return [(command.name, command.help) for command in self._registry.commands]
        return []


def _fills_screen(text: str) -> bool:
    columns, rows = shutil.get_terminal_size()
    return text.count("\n") + len(text) // columns + _ROWS_AROUND_TEXT > rows


def _write_line(line: str) -> None:
    sys.stdout.write(f"{wrapped(line, shutil.get_terminal_size().columns)}\n")
    sys.stdout.flush()


def _view(reasoning: ShowReasoning) -> View:
    if not suits_rich_view():
        return PlainView(sys.stdout, sys.stdout, reasoning)
    from ossctl.repl.rich_view import RichView

    return RichView(sys.stdout, reasoning)
