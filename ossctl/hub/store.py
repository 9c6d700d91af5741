"""Pull a model from the hub into the Hugging Face cache, and verify it."""

import contextlib
import errno
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.utils import WeakFileLock

from ossctl.errors import ModelError
from ossctl.hub.cache import RepoFolder, hub_cache
from ossctl.hub.download import ChecksumMismatch, fetch
from ossctl.hub.hashing import sha256_of
from ossctl.hub.hub import HubFile, HubModel
from ossctl.hub.local import LocalModel
from ossctl.hub.records import FileRecords

_SECONDS_BETWEEN_UPDATES = 0.1
_LOCK_SECONDS = 0.5


@dataclass(frozen=True)
class Transfer:
    """Progress of a pull: bytes of all shards, and its `status` if it is not downloading."""

    done: int
    total: int
    status: str = ""


def missing_bytes(model: HubModel) -> int:
    """Bytes left to fetch."""
    return sum(file.n_bytes - _present_bytes(file) for file in model.files)


def free_bytes(folder: Path) -> int:
    """Disk space available to this user in `folder`, which need not exist yet."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free


class ModelPull:
    """Pull one model. Other processes may pull the same one concurrently."""

    def __init__(
        self,
        model: HubModel,
        records: FileRecords,
        on_progress: Callable[[Transfer], None],
        say: Callable[[str], None],
    ) -> None:
        """`on_progress` is called up to ten times a second, `say` for messages that should stay visible."""
        self._model = model
        self._folder = RepoFolder.of(model.files[0].repo)
        self._records = records
        self._on_progress = on_progress
        self._say = say
        self._finished_bytes = 0  # of the files before the current one
        self._current_bytes = 0
        self._next_update = 0.0

    def run(self) -> LocalModel:
        """Fetch what is missing and verify all files. Raises ModelError. A later pull can resume."""
        try:
            for file in self._model.files:
                self._pull(file)
                self._finished_bytes, self._current_bytes = self._finished_bytes + file.n_bytes, 0
                self._on_progress(Transfer(self._finished_bytes, self._model.n_bytes))
            commit = self._model.files[0].commit
            self._folder.write_ref(self._model.reference.revision, commit)
        except OSError as error:
            raise self._disk_error(error) from None
        found = self._folder.find(self._model.reference)
        if found is None:
            raise ModelError(f"{self._model.reference} has vanished from {self._folder.path}")
        return found

    def _pull(self, file: HubFile) -> None:
        pointer = self._folder.pointer(file.commit, file.name)
        with contextlib.suppress(FileNotFoundError):  # another process may be replacing a damaged file
            if _is_complete(pointer, file) and self._is_verified(pointer, file):
                return
        with self._lock(file):
            self._complete(file, pointer)
            if not self._is_verified(pointer, file):
                self._say(f"{file.name} is damaged on disk; fetching it again.")
                self._discard(file, pointer)
                self._complete(file, pointer)

    def _complete(self, file: HubFile, pointer: Path) -> None:
        blob = self._folder.blob(file.sha256)
        if _is_complete(pointer, file):
            return
        fetched = not _is_complete(blob, file)
        if fetched:
            self._fetch(file)
        self._folder.link(file.sha256, file.commit, file.name)
        if fetched:
            self._records.note_verified(pointer, file.sha256)

    def _fetch(self, file: HubFile) -> None:
        incomplete, blob = self._folder.incomplete(file.sha256), self._folder.blob(file.sha256)
        incomplete.parent.mkdir(parents=True, exist_ok=True)
        try:
            fetch(file, incomplete, self._update, self._wait)
        except ChecksumMismatch as error:
            self._say(f"{error}. Fetching it again.")
            self._fetch_again(file, incomplete)
        incomplete.replace(blob)

    def _fetch_again(self, file: HubFile, incomplete: Path) -> None:
        try:
            fetch(file, incomplete, self._update, self._wait)
        except ChecksumMismatch as error:
            raise ModelError(
                f"second {error}", "A proxy, a mirror or bad memory may be changing the data."
            ) from None

    def _is_verified(self, pointer: Path, file: HubFile) -> bool:
        """Whether a complete file has the right hash. Hashes the file unless its hash is on record."""
        known = self._records.verified(pointer)
        if known is None or known.sha256 != file.sha256:
            sha256 = sha256_of(pointer, lambda done: self._update(done, f"verifying {file.name}"))
            if sha256 != file.sha256:
                return False
            self._records.note_verified(pointer, sha256)
        return True

    def _discard(self, file: HubFile, pointer: Path) -> None:
        self._records.forget(pointer)
        pointer.unlink()
        self._folder.blob(file.sha256).unlink(missing_ok=True)

    @contextmanager
    def _lock(self, file: HubFile) -> Iterator[None]:
        """Hold the download lock of `file`, waiting for other processes that fetch it."""
        lock = self._folder.lock(file.sha256)
        lock.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(WeakFileLock(lock, timeout=_LOCK_SECONDS))
                    break
                except TimeoutError:
                    self._update(_present_bytes(file), "another program is fetching it")
            yield

    def _update(self, current_bytes: int, status: str = "") -> None:
        self._current_bytes = current_bytes
        now = time.monotonic()
        if now >= self._next_update:
            self._next_update = now + _SECONDS_BETWEEN_UPDATES
            self._on_progress(Transfer(self._finished_bytes + current_bytes, self._model.n_bytes, status))

    def _wait(self, seconds: float, reason: str) -> None:
        end = time.monotonic() + seconds
        self._next_update = 0.0
        while (left := end - time.monotonic()) > 0:
            self._update(self._current_bytes, f"{reason}; retrying in {math.ceil(left)} s")
            time.sleep(min(left, 0.5))

    def _disk_error(self, error: OSError) -> ModelError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            left = math.ceil(missing_bytes(self._model) / 1e8) / 10
            hint = f"Free {left} GB and pull again to resume, or set HF_HOME to move the cache."
            return ModelError(f"no space left on the disk of {hub_cache()}", hint)
        message = f"cannot store {self._model.reference} in {hub_cache()}: {error.strerror or error}"
        return ModelError(message)


def _present_bytes(file: HubFile) -> int:
    folder = RepoFolder.of(file.repo)
    pointer, blob = folder.pointer(file.commit, file.name), folder.blob(file.sha256)
    for path in (pointer, blob, folder.incomplete(file.sha256)):
        with contextlib.suppress(OSError):
            return min(path.stat().st_size, file.n_bytes)
    return 0


def _is_complete(path: Path, file: HubFile) -> bool:
    with contextlib.suppress(OSError):
        return path.stat().st_size == file.n_bytes
    return False
