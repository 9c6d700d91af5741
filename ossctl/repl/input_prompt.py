"""The input line of a chat: keys, history, completion and toolbar, with prompt_toolkit."""

import asyncio
import codecs
import contextlib
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application, get_app, run_in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import (
    completion_is_selected,
    emacs_selection_mode,
    has_completions,
    is_searching,
    shift_selection_mode,
)
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.styles import Style

from ossctl.errors import Interrupted
from ossctl.repl.completion import Candidate
from ossctl.repl.guard import Guard
from ossctl.repl.toolbar import Part
from ossctl.text import harmless

_MAX_REMEMBERED = 20_000  # characters of a message that is written to the history file
_OWNER_ONLY = 0o600
_SEPARATOR = " · "
_IDLE_SECONDS = 0.5
_PASTE_SECONDS = 2.0  # after which a paste whose end does not arrive is over

_STYLE = Style.from_dict(
    {
        "bottom-toolbar": "noreverse",
        "prompt": "bold",
        "toolbar": "ansibrightblack",
        "toolbar.warning": "ansiyellow bold",
    }
)


class InputHost(Protocol):
    """What the prompt needs from the chat. All methods are called on the prompt's thread.

    An error that they raise is shown below the prompt.
    """

    def complete(self, text: str) -> Sequence[Candidate]:
        """What may follow `text`, the text before the cursor."""

    def toolbar(self, text: str) -> Sequence[Part]:
        """The toolbar below `text`. Called with every redraw, so it must not change anything."""

    def idle(self, text: str, cursor: int) -> None:
        """Work between two keys: after every change of the text, and twice a second."""

    def cleared(self) -> None:
        """The user has discarded the text."""

    def check(self) -> None:
        """Raises Interrupted or KeyboardInterrupt if a signal came before the prompt was shown."""

    def suspend(self) -> None:
        """Stop the process until the user continues it. The terminal is in its usual mode."""


class InputPrompt:
    """Asks for one message at a time."""

    def __init__(self, history: Path, host: InputHost) -> None:
        self._host = host
        self._guard = Guard()
        self._wakeup = asyncio.Event()
        self._pasted = ""  # the first word of a paste at the start of the text
        self.edited = False  # whether the text has changed since `ask`
        self._redraw = False
        self._session: PromptSession[str] = PromptSession(
            message=[("class:prompt", "> ")],
            multiline=True,
            prompt_continuation=lambda _width, _line, wrapped: "" if wrapped else "  ",
            history=_History(history),
            completer=_Completer(lambda text: self._guard.call(lambda: host.complete(text), ())),
            complete_while_typing=True,
            complete_in_thread=False,
            enable_open_in_editor=True,
            tempfile_suffix=".md",
            key_bindings=self._keys(),
            bottom_toolbar=self._toolbar_text,
            style=_STYLE,
            include_default_pygments_style=False,
            reserve_space_for_menu=4,
        )
        _replace_invalid_bytes(self._session.app.input)
        buffer = self._session.default_buffer
        edit = buffer._open_file_in_editor  # noqa: SLF001
        setattr(buffer, edit.__name__, lambda name: edit(name) and _replace_invalid_bytes_in(Path(name)))
        buffer.on_text_changed += self._text_changed
        buffer.on_cursor_position_changed += lambda _: self._wakeup.set()

    def ask(self, draft: str = "") -> str:
        """Let the user edit `draft` and return the message.

        Raises EOFError, KeyboardInterrupt at an empty line, and what `leave` was given.
        """
        self._pasted, self.edited = "", False
        self._guard.clear()
        return self._session.prompt(default=draft, pre_run=self._begin, set_exception_handler=False)

    @property
    def text(self) -> str:
        """What is being written, or was when `ask` ended."""
        return self._session.default_buffer.text

    @property
    def pasted(self) -> bool:
        """Whether the first word of the text was pasted."""
        return bool(self._pasted) and self.text.startswith(self._pasted)

    def wake(self) -> None:
        """Run the idle hook and redraw, from any thread."""
        self._call_soon(self._wake)

    def leave(self, error: BaseException) -> None:
        """Make `ask` raise `error`, from any thread or a signal handler."""
        self._call_soon(lambda: self._exit(error))

    def suspend(self) -> bool:
        """Suspend the process, from a signal handler; False if no prompt is shown."""
        if not self._session.app.is_running:
            return False
        self._call_soon(lambda: run_in_terminal(self._host.suspend))
        return True

    def print_above(self, write: Callable[[], None]) -> None:
        """Call `write`, which may write lines, while the prompt is not shown."""
        run_in_terminal(write)

    def _call_soon(self, call: Callable[[], object]) -> None:
        app = self._session.app
        loop = app.loop
        if loop is not None and app.is_running:
            with contextlib.suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(call)

    def _begin(self) -> None:
        # A suspension that was cut off by the end of the last prompt: the end of this one would wait for it.
        self._session.app._running_in_terminal_f = None  # noqa: SLF001
        try:
            self._host.check()
        except (Interrupted, KeyboardInterrupt) as error:
            self._exit(error)
        self._wakeup = asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(self._loop_failed)
        self._session.app.create_background_task(self._run_idle())

    async def _run_idle(self) -> None:
        buffer = self._session.default_buffer
        paste = _OpenPaste(self._session.app)
        while True:
            problem = self._guard.problem
            self._guard.call(paste.end_if_stalled, None)
            self._guard.call(lambda: self._host.idle(buffer.text, buffer.cursor_position), None)
            if self._redraw or self._guard.problem != problem:
                self._session.app.invalidate()
            self._redraw = False
            timer = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._wake)
            await self._wakeup.wait()
            timer.cancel()
            self._wakeup.clear()

    def _wake(self) -> None:
        self._redraw = True
        self._wakeup.set()

    def _loop_failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._guard.note(context.get("exception") or RuntimeError(context["message"]))

    def _exit(self, error: BaseException) -> None:
        app = self._session.app
        if app.is_running and not app.is_done:
            self._session.default_buffer.append_to_history()  # what was typed is not lost
            app.exit(exception=error)

    def _text_changed(self, buffer: Buffer) -> None:
        self.edited = True
        self._wakeup.set()
        if not buffer.text:
            self._pasted = ""

    def _paste(self, event: KeyPressEvent) -> None:
        buffer, data = event.current_buffer, event.data.replace("\r\n", "\n").replace("\r", "\n")
        if buffer.cursor_position == 0:
            self._pasted = data.partition(" ")[0]
        buffer.insert_text(data)

    def _keys(self) -> KeyBindings:
        keys = _keys(self._cleared)
        keys.add(Keys.BracketedPaste)(self._paste)
        keys.add("c-z")(lambda _event: run_in_terminal(self._host.suspend) and None)
        return keys

    def _cleared(self) -> None:
        self._pasted = ""
        self._guard.clear()
        self._guard.call(self._host.cleared, None)

    def _toolbar_text(self) -> StyleAndTextTuples:
        nothing: Sequence[Part] = ()
        parts = list(self._guard.call(lambda: self._host.toolbar(self.text), nothing))
        if self._guard.problem:
            parts.append(Part(harmless(self._guard.problem), is_warning=True))
        columns = get_app().output.get_size().columns
        while len(parts) > 1 and len(_SEPARATOR.join(part.text for part in parts)) >= columns:
            del parts[0]
        fragments: StyleAndTextTuples = []
        for part in parts:
            if fragments:
                fragments.append(("class:toolbar", _SEPARATOR))
            fragments.append(("class:toolbar.warning" if part.is_warning else "class:toolbar", part.text))
        return fragments


class _OpenPaste:
    """Ends a paste whose end mark was lost, as while the chat was suspended: it would swallow all keys."""

    def __init__(self, app: Application[str]) -> None:
        self._app = app
        self._pasted: str | None = None
        self._since = 0.0

    def end_if_stalled(self) -> None:
        """Called now and then."""
        parser = getattr(self._app.input, "vt100_parser", None)
        pasted = parser._paste_buffer if parser is not None and parser._in_bracketed_paste else None  # noqa: SLF001
        if pasted is None or pasted != self._pasted:
            self._pasted, self._since = pasted, monotonic()
        elif parser is not None and monotonic() - self._since > _PASTE_SECONDS:
            parser.feed("\x1b[201~")
            self._app.key_processor.feed_multiple(self._app.input.flush_keys())
            self._app.key_processor.process_keys()


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


def _replace_invalid_bytes(keys: Input) -> None:
    """Replace bytes that are not text, typed or pasted. prompt_toolkit would insert them as surrogates."""
    if sys.platform != "win32":
        from prompt_toolkit.input.posix_utils import PosixStdinReader
        from prompt_toolkit.input.vt100 import Vt100Input

        if isinstance(keys, Vt100Input):
            encoding = codecs.lookup(keys.stdin.encoding or "utf-8").name
            encoding = "utf-8" if encoding == "ascii" else encoding
            keys.stdin_reader = PosixStdinReader(keys.fileno(), errors="replace", encoding=encoding)


def _replace_invalid_bytes_in(file: Path) -> bool:
    """Replace what an editor wrote that is not UTF-8; False if the file is gone."""
    try:
        file.write_bytes(file.read_bytes().decode("utf-8", "replace").encode())
    except OSError:
        return False
    return True


def _keys(cleared: Callable[[], None]) -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter", filter=~completion_is_selected & ~is_searching)
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

    @keys.add(Keys.Any, filter=emacs_selection_mode & ~shift_selection_mode)
    @keys.add("backspace", filter=emacs_selection_mode & ~shift_selection_mode)
    def _leave_selection(event: KeyPressEvent) -> None:  # prompt_toolkit would ignore what is typed
        event.current_buffer.exit_selection()
        event.key_processor.feed(event.key_sequence[-1], first=True)

    @keys.add("c-c", filter=~is_searching)
    @keys.add("<sigint>")
    def _clear(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
            cleared()
        elif event.app.is_running and not event.app.is_done:  # a signal may come just before or after
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    return keys
