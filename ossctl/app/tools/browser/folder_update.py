"""Brings the index of a folder up to date, in the background."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from threading import Event, Lock, Thread
from time import monotonic

from ossctl.app.tools.browser.documents import MISSING_PDF, can_read_pdf, is_pdf
from ossctl.app.tools.browser.library import PageError
from ossctl.app.tools.browser.page import Page, without_links
from ossctl.app.tools.folder import Entry, Folder, FolderError
from ossctl.app.tools.source import KeepGoing
from ossctl.errors import OssctlError
from ossctl.storage.text_index import IndexedText, TextIndex

MAX_FILES = 200_000
_WAIT_SECONDS = 10.0  # how long a search waits for the index; then it uses what there is
_CLOSE_SECONDS = 2.0  # how long the end waits for the file that is being read
_POLL_SECONDS = 0.02
_RESTS = 20  # times as long as the last update took: until then, its result is taken for current
_BATCH_FILES = 100  # in a transaction, during which other programs wait
_BATCH_SECONDS = 1.0
_NO_TEXT = (
    ".png", ".jpg", ".jpeg", ".gif", ".webp", ".ico", ".mp3", ".mp4", ".mov", ".avi", ".wav", ".flac", ".zip",
    ".gz", ".xz", ".bz2", ".zst", ".7z", ".tar", ".whl", ".so", ".dll", ".exe", ".o", ".a", ".pyc", ".class",
    ".jar",
    ".gguf", ".safetensors", ".bin", ".pt", ".npy", ".npz", ".db", ".sqlite", ".ttf", ".woff", ".woff2",
)  # fmt: skip

Read = Callable[[str, KeepGoing], Page]


def version_of(n_bytes: int, modified_ns: int) -> str:
    """What changes when a file does."""
    return f"{n_bytes}:{modified_ns}"


class FolderUpdate:
    """Updates an index on a thread of its own, whenever a search asks for that. Used from any thread."""

    def __init__(self, folder: Folder, index: TextIndex, read: Read, max_files: int = MAX_FILES) -> None:
        self._folder = folder
        self._index = index
        self._read = read
        self._max_files = max_files
        self._lock = Lock()
        self._thread: Thread | None = None
        self._closed = Event()
        self._current_until = 0.0
        self._error: Exception | None = None
        self._n_waiting = 0  # files that are yet to be read
        self._left_out = False
        self._without_pdf = False

    def refresh(self, keep_going: KeepGoing, seconds: float = _WAIT_SECONDS) -> str:
        """Start an update unless the index is current, and wait for it, but not for long.

        Returns which files are not in the index, or "". Raises PageError, and any other error of the last
        update.
        """
        with self._lock:
            if self._thread is None and monotonic() >= self._current_until and not self._closed.is_set():
                self._thread = Thread(target=self._run, name="documents", daemon=True)
                self._thread.start()
            thread = self._thread
        deadline = monotonic() + seconds
        while thread and thread.is_alive() and keep_going() and monotonic() < deadline:
            thread.join(_POLL_SECONDS)
        if self._error:
            raise self._error
        return self._note(running=thread is not None and thread.is_alive())

    def close(self) -> None:
        """End the update, or leave it behind if it does not end soon."""
        self._closed.set()
        if thread := self._thread:
            thread.join(_CLOSE_SECONDS)

    def _note(self, *, running: bool) -> str:
        if running:
            left = f"{self._n_waiting:,} files are" if self._n_waiting else "some files are"
            return f"The index is not complete yet: {left} still to be read."
        notes = [f"Only {self._max_files:,} files of the folder are searched."] if self._left_out else []
        return " ".join(
            [*notes, *([f"PDF files are not searched: {MISSING_PDF}."] if self._without_pdf else [])]
        )

    def _run(self) -> None:
        started = monotonic()
        try:
            self._update()
            self._error = None
        except (OssctlError, FolderError, OSError) as error:
            self._error = PageError(str(error))
        except Exception as error:  # noqa: BLE001 (the next search raises it)
            self._error = error
        finally:
            with self._lock:
                self._thread = None
                self._current_until = monotonic() + _RESTS * (monotonic() - started)

    def _update(self) -> None:
        known = self._index.versions()
        files = self._files()
        paths = {entry.path for entry in files}
        changed = [e for e in files if known.get(e.path) != version_of(e.n_bytes, e.modified_ns)]
        self._n_waiting = len(changed)
        if self._goes_on() and (removed := [path for path in known if path not in paths]):
            self._index.update((), removed)
        texts = map(self._text, changed)
        while self._goes_on() and (batch := list(self._batch(texts))):
            self._index.update(batch)
            self._n_waiting -= len(batch)

    def _files(self) -> Sequence[Entry]:
        walked = self._folder.walk(keep_going=self._goes_on)
        found = (e for e in walked if not e.is_folder and not e.path.lower().endswith(_NO_TEXT))
        files = list(islice(found, self._max_files))
        self._left_out = next(found, None) is not None
        readable = files if can_read_pdf() else [entry for entry in files if not is_pdf(entry.path)]
        self._without_pdf = len(readable) < len(files)
        return readable

    def _batch(self, texts: Iterator[IndexedText]) -> Iterator[IndexedText]:
        deadline = monotonic() + _BATCH_SECONDS
        for text in islice(texts, _BATCH_FILES):
            if not self._goes_on():  # the reading may have been stopped
                return
            yield text
            if monotonic() > deadline:
                return

    def _text(self, entry: Entry) -> IndexedText:
        """The text of a file; an empty one if it has none, so that it is not read again."""
        version = version_of(entry.n_bytes, entry.modified_ns)
        with suppress(PageError, FolderError):
            page = self._read(entry.path, self._goes_on)
            return IndexedText(entry.path, version, page.title, without_links(page.text))
        return IndexedText(entry.path, version)

    def _goes_on(self) -> bool:
        return not self._closed.is_set()
