"""Where the user types: keys, history, completion and the toolbar, by prompt_toolkit."""

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

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

_LONGEST_KEPT = 20_000  # characters of a message that the history file takes
_OWNER_ONLY = 0o600
_BETWEEN = " · "
_REFRESH_SECONDS = 0.5  # while something goes on that the toolbar tells of

_STYLE = Style.from_dict(
    {
        "bottom-toolbar": "noreverse",
        "prompt": "bold",
        "toolbar": "ansibrightblack",
        "toolbar.warning": "ansiyellow bold",
    }
)


class Prompt:
    """Asks for one message after the other."""

    def __init__(
        self,
        history: Path,
        complete: Callable[[str], list[Candidate]],
        toolbar: Callable[[str, int], list[tuple[bool, str]]],
        cleared: Callable[[], None],
        check: Callable[[], None],
    ) -> None:
        """`toolbar` gives, for the text so far and the cursor's place in it, parts to show, each with whether
        it is a warning. It is asked at every key, and twice a second.

        `cleared` is called when the user takes back what is typed. `check` raises Interrupted if the chat
        was to end before the prompt could be left.
        """
        self._toolbar = toolbar
        self._check = check
        self._session: PromptSession[str] = PromptSession(
            message=[("class:prompt", "> ")],
            multiline=True,
            prompt_continuation=lambda _width, _line, wrapped: "" if wrapped else "  ",
            history=_History(history),
            completer=_Completer(complete),
            complete_while_typing=True,
            complete_in_thread=False,
            enable_open_in_editor=True,
            tempfile_suffix=".md",
            key_bindings=_keys(cleared),
            bottom_toolbar=self._toolbar_text,
            style=_STYLE,
            include_default_pygments_style=False,
            reserve_space_for_menu=4,
        )

    def ask(self, draft: str = "") -> str:
        """A message, `draft` to begin with. Raises EOFError, KeyboardInterrupt at an empty line, and what
        `leave` was given."""
        return self._session.prompt(default=draft, refresh_interval=_REFRESH_SECONDS, pre_run=self._begin)

    def when_shown(self, call: Callable[[], None]) -> None:
        """Call that once, when the prompt is there for the first time."""
        events = self._session.app.after_render

        def once(_: object) -> None:
            events.remove_handler(once)
            call()

        events.add_handler(once)

    def refresh(self) -> None:
        """Draw the toolbar again, from any thread."""
        self._session.app.invalidate()

    def leave(self, error: BaseException) -> None:
        """Let `ask` raise `error`, from any thread or a signal handler."""
        app = self._session.app
        loop = app.loop
        if loop is not None and app.is_running:
            with contextlib.suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(self._exit, error)

    def _begin(self) -> None:
        try:
            self._check()
        except Interrupted as error:
            self._exit(error)

    def _exit(self, error: BaseException) -> None:
        app = self._session.app
        if app.is_running and not app.is_done:
            app.exit(exception=error)

    def _toolbar_text(self) -> StyleAndTextTuples:
        buffer = self._session.default_buffer
        parts = self._toolbar(buffer.text, buffer.cursor_position)
        columns = get_app().output.get_size().columns
        while len(parts) > 1 and len(_BETWEEN.join(text for _, text in parts)) >= columns:
            parts = parts[1:]
        fragments: StyleAndTextTuples = []
        for warns, text in parts:
            if fragments:
                fragments.append(("class:toolbar", _BETWEEN))
            fragments.append(("class:toolbar.warning" if warns else "class:toolbar", text))
        return fragments


class _Completer(Completer):
    def __init__(self, complete: Callable[[str], list[Candidate]]) -> None:
        self._complete = complete

    def get_completions(self, document: Document, _complete_event: CompleteEvent) -> Iterable[Completion]:
        for candidate in self._complete(document.text_before_cursor):
            yield Completion(candidate.text, -candidate.length, display_meta=candidate.about)


class _History(FileHistory):
    """Shared by all chats. What cannot be kept is known to this one only."""

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
        if len(string) <= _LONGEST_KEPT:
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
