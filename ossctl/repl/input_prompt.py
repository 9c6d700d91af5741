"""The input line of a chat: keys, history, completion and toolbar, with prompt_toolkit."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import completion_is_selected, has_completions
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.styles import Style

from ossctl.errors import Interrupted
from ossctl.repl.completion import Candidate
from ossctl.repl.toolbar import Part

_MAX_REMEMBERED = 20_000  # characters of a message that is written to the history file
_OWNER_ONLY = 0o600
_SEPARATOR = " · "
_IDLE_SECONDS = 0.5

_STYLE = Style.from_dict(
    {
        "bottom-toolbar": "noreverse",
        "prompt": "bold",
        "toolbar": "ansibrightblack",
        "toolbar.warning": "ansiyellow bold",
    }
)


class InputHost(Protocol):
    """What the prompt needs from the chat. All methods are called on the prompt's thread."""

    def complete(self, text: str) -> Sequence[Candidate]:
        """What may follow `text`, the text before the cursor."""

    def toolbar(self, text: str) -> Sequence[Part]:
        """The toolbar below `text`. Called with every redraw, so it must not change anything."""

    def idle(self, text: str, cursor: int) -> None:
        """Work between two keys: after every change of the text, and twice a second."""

    def cleared(self) -> None:
        """The user has discarded the text."""

    def check(self) -> None:
        """Raises Interrupted if a signal ended the chat before the prompt was shown."""


class InputPrompt:
    """Asks for one message at a time."""

    def __init__(self, history: Path, host: InputHost) -> None:
        self._host = host
        self._wakeup = asyncio.Event()
        self._redraw = False
        self._session: PromptSession[str] = PromptSession(
            message=[("class:prompt", "> ")],
            multiline=True,
            prompt_continuation=lambda _width, _line, wrapped: "" if wrapped else "  ",
            history=_History(history),
            completer=_Completer(host.complete),
            complete_while_typing=True,
            complete_in_thread=False,
            enable_open_in_editor=True,
            tempfile_suffix=".md",
            key_bindings=_keys(host.cleared),
            bottom_toolbar=self._toolbar_text,
            style=_STYLE,
            include_default_pygments_style=False,
            reserve_space_for_menu=4,
        )
        buffer = self._session.default_buffer
        buffer.on_text_changed += lambda _: self._wakeup.set()
        buffer.on_cursor_position_changed += lambda _: self._wakeup.set()

    def ask(self, draft: str = "") -> str:
        """Let the user edit `draft` and return the message.

        Raises EOFError, KeyboardInterrupt at an empty line, what `leave` was given, and the host's errors.
        """
        return self._session.prompt(default=draft, pre_run=self._begin)

    def wake(self) -> None:
        """Run the idle hook and redraw, from any thread."""
        self._call_soon(self._wake)

    def leave(self, error: BaseException) -> None:
        """Make `ask` raise `error`, from any thread or a signal handler."""
        self._call_soon(lambda: self._exit(error))

    def _call_soon(self, call: Callable[[], None]) -> None:
        app = self._session.app
        loop = app.loop
        if loop is not None and app.is_running:
            with contextlib.suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(call)

    def _begin(self) -> None:
        try:
            self._host.check()
        except Interrupted as error:
            self._exit(error)
        self._wakeup = asyncio.Event()
        self._session.app.create_background_task(self._run_idle())

    async def _run_idle(self) -> None:
        buffer = self._session.default_buffer
        while True:
            try:
                self._host.idle(buffer.text, buffer.cursor_position)
            except Exception as error:  # noqa: BLE001 (raised by `ask`)
                self._exit(error)
                return
            if self._redraw:
                self._session.app.invalidate()
            self._redraw = False
            timer = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._wake)
            await self._wakeup.wait()
            timer.cancel()
            self._wakeup.clear()

    def _wake(self) -> None:
        self._redraw = True
        self._wakeup.set()

    def _exit(self, error: BaseException) -> None:
        app = self._session.app
        if app.is_running and not app.is_done:
            app.exit(exception=error)

    def _toolbar_text(self) -> StyleAndTextTuples:
        parts = list(self._host.toolbar(self._session.default_buffer.text))
        columns = get_app().output.get_size().columns
        while len(parts) > 1 and len(_SEPARATOR.join(part.text for part in parts)) >= columns:
            del parts[0]
        fragments: StyleAndTextTuples = []
        for part in parts:
            if fragments:
                fragments.append(("class:toolbar", _SEPARATOR))
            fragments.append(("class:toolbar.warning" if part.is_warning else "class:toolbar", part.text))
        return fragments


class _Completer(Completer):
    def __init__(self, complete: Callable[[str], Sequence[Candidate]]) -> None:
        self._complete = complete

    def get_completions(self, document: Document, _complete_event: CompleteEvent) -> Iterable[Completion]:
        for candidate in self._complete(document.text_before_cursor):
            yield Completion(candidate.text, -candidate.length, display_meta=candidate.about)


class _History(FileHistory):
    """The history file that all chats share. If it cannot be used, this chat has its own history."""

    def __init__(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(_OWNER_ONLY)
        super().__init__(str(path))

    def load_history_strings(self) -> Iterable[str]:
        try:
            return list(super().load_history_strings())
        except OSError:
            return []

    def store_string(self, string: str) -> None:
        if len(string) <= _MAX_REMEMBERED:
            with contextlib.suppress(OSError):
                super().store_string(string)


def _keys(cleared: Callable[[], None]) -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter", filter=~completion_is_selected)
    def _send(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.text_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("enter", filter=has_completions & completion_is_selected)
    def _choose(event: KeyPressEvent) -> None:
        event.current_buffer.complete_state = None

    @keys.add("escape", "enter")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-c")
    @keys.add("<sigint>")
    def _clear(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
            cleared()
        else:
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    return keys
