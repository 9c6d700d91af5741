"""The size of files that a message mentions as `@path`, counted while it is written."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock, Thread

from ossctl.app.chat.attachments import mentioned_files, read_attachment, with_attachments
from ossctl.app.chat.context_window import ContextAccounting
from ossctl.errors import OssctlError
from ossctl.repl.toolbar import Part
from ossctl.repl.wording import tokens

_SEARCHED = 2_000  # characters at either end of a message: it is searched at every key
_MAX_COUNTED = 500_000  # characters of a file that are tokenized, in about a second

_Version = tuple[Path, int, int]  # a file, its modification time and its size
Measure = Callable[[Path], Part]


class Mentions:
    """Counts on its own thread. `on_counted` is called there after each file."""

    def __init__(self, on_counted: Callable[[], None]) -> None:
        self._on_counted = on_counted
        self._lock = Lock()
        self._counted: dict[_Version, Part] = {}  # guarded by the lock
        self._thread: Thread | None = None
        self._error: Exception | None = None

    def parts(self, text: str) -> list[Part]:
        """The size of each mentioned file, as far as it has been counted."""
        versions = _versions(text)
        with self._lock:
            return [self._counted.get(each, Part(f"@{each[0].name}: …")) for each in versions]

    def count(self, text: str, measure: Measure) -> None:
        """Start to measure the mentioned files that have not been counted, unless some are being counted.

        `measure` is called on the other thread. Raises here what it raised there.
        """
        if (error := self._error) is not None:
            self._error = None
            raise error
        if self._thread is not None and self._thread.is_alive():
            return
        with self._lock:
            missing = [each for each in _versions(text) if each not in self._counted]
        if missing:
            self._thread = Thread(target=self._run, args=(missing, measure), name="mentions", daemon=True)
            self._thread.start()

    def settle(self) -> None:
        """Wait for the thread and forget all sizes: the next model may count differently."""
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._counted.clear()

    def _run(self, versions: list[_Version], measure: Measure) -> None:
        for version in versions:
            part = Part(f"@{version[0].name}: ?", is_warning=True)
            try:
                part = measure(version[0])
            except Exception as error:  # noqa: BLE001 (`count` raises it)
                self._error = error
            with self._lock:
                self._counted[version] = part
            self._on_counted()


def describe_file(path: Path, context: ContextAccounting, used: int) -> Part:
    """What a file would add to a message, with `used` tokens of the context in use."""
    free = context.n_ctx - used
    try:
        file = read_attachment(path, context.n_ctx)
        if len(file.text) > _MAX_COUNTED:
            return Part(f"@{path.name}: {len(file.text) / 1e6:,.1f} MB")
        count = context.size_of(with_attachments("", [file]))
    except OssctlError as error:
        return Part(error.message.partition(";")[0], is_warning=True)
    if count > free:
        return Part(f"@{path.name}: {tokens(count)}, {free:,} free", is_warning=True)
    return Part(f"@{path.name}: {tokens(count)}")


def _versions(text: str) -> list[_Version]:
    """The mentioned files as they are now."""
    searched = text if len(text) <= 2 * _SEARCHED else f"{text[:_SEARCHED]}\n{text[-_SEARCHED:]}"
    return [version for path in mentioned_files(searched) if (version := _version(path)) is not None]


def _version(path: Path) -> _Version | None:
    """None if the file has just been deleted."""
    try:
        status = path.stat()
    except OSError:
        return None
    return path, status.st_mtime_ns, status.st_size
