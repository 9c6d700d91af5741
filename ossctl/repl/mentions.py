"""What the files take that a message names as `@path`, told while it is typed."""

from collections.abc import Callable
from pathlib import Path
from threading import Thread

from ossctl.app.chat.attachments import mentioned

Part = tuple[bool, str]  # whether it is a warning, and the text

_LOOKED_AT = 2_000  # characters at either end of a message: it is looked through at every key


class Mentions:
    """Counts on a thread of its own, while nobody else asks the model; `settle` waits for it."""

    def __init__(self, measure: Callable[[Path], Part], changed: Callable[[], None]) -> None:
        """`measure` says what a file takes, and `changed` is called, on that thread, when it has."""
        self._measure = measure
        self._changed = changed
        self._known: dict[tuple[Path, int, int], Part] = {}
        self._thread: Thread | None = None

    def parts(self, text: str) -> list[Part]:
        """What is known by now of each file; the rest follows."""
        looked_at = text if len(text) <= 2 * _LOOKED_AT else f"{text[:_LOOKED_AT]}\n{text[-_LOOKED_AT:]}"
        files = [key for path in mentioned(looked_at) if (key := _version(path)) is not None]
        missing = [key for key in files if key not in self._known]
        if missing and (self._thread is None or not self._thread.is_alive()):
            self._thread = Thread(target=self._count, args=(missing,), name="mentions", daemon=True)
            self._thread.start()
        return [self._known.get(key, (False, f"@{key[0].name}: …")) for key in files]

    def settle(self) -> None:
        """Wait for what is being counted, and forget all: another model may be the next to count."""
        if self._thread is not None:
            self._thread.join()
        self._known.clear()

    def _count(self, keys: list[tuple[Path, int, int]]) -> None:
        for key in keys:
            self._known[key] = self._measure(key[0])
            self._changed()


def _version(path: Path) -> tuple[Path, int, int] | None:
    """The file as it is now: its time of change and its bytes. None if it has just gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return path, status.st_mtime_ns, status.st_size
