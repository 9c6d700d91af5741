"""Bringing a model from the hub into the Hugging Face cache, whole and verified."""

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
from ossctl.hub.download import Damaged, fetch
from ossctl.hub.hashing import sha256_of
from ossctl.hub.hub import HubFile, HubModel
from ossctl.hub.local import LocalModel
from ossctl.hub.records import FileRecords

_SECONDS_BETWEEN_NEWS = 0.1
_LOCK_SECONDS = 0.5


@dataclass(frozen=True)
class Transfer:
    """How far a pull is: bytes that are there, of all shards, and what else is going on ("" for nothing)."""

    done: int
    total: int
    doing: str = ""


def missing_bytes(model: HubModel) -> int:
    """What has still to be fetched."""
    return sum(file.n_bytes - _present_bytes(file) for file in model.files)


def free_bytes(folder: Path) -> int:
    """Free space for this user on the disk that `folder`, which may not exist yet, is on."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free


class ModelPull:
    """One pull of one model. Others of the same, in any program that uses the cache, don't disturb it."""

    def __init__(
        self,
        model: HubModel,
        records: FileRecords,
        watch: Callable[[Transfer], None],
        say: Callable[[str], None],
    ) -> None:
        """`watch` is called often, `say` with what a user should know when all is over."""
        self._model = model
        self._folder = RepoFolder.of(model.files[0].repo)
        self._records = records
        self._watch = watch
        self._say = say
        self._before = 0  # bytes of the files that are done
        self._here = 0  # bytes of this one
        self._next_news = 0.0

    def run(self) -> LocalModel:
        """Fetch what is missing and verify all. Raises ModelError; what has arrived stays, to go on from."""
        try:
            for file in self._model.files:
                self._bring(file)
                self._before, self._here = self._before + file.n_bytes, 0
                self._watch(Transfer(self._before, self._model.n_bytes))
            commit = self._model.files[0].commit
            self._folder.note_revision(self._model.reference.revision, commit)
        except OSError as error:
            raise self._disk_error(error) from None
        found = self._folder.find(self._model.reference)
        if found is None:
            raise ModelError(f"{self._model.reference} has vanished from {self._folder.path}")
        return found

    def _bring(self, file: HubFile) -> None:
        pointer = self._folder.pointer(file.commit, file.name)
        if not _is_whole(pointer, file):
            with self._lock(file):
                self._complete(file, pointer)
        if not self._is_right(pointer, file):
            with self._lock(file):
                self._say(f"{file.name} on this disk is damaged; fetching it again.")
                self._discard(file, pointer)
                self._complete(file, pointer)

    def _complete(self, file: HubFile, pointer: Path) -> None:
        """Make `pointer` a whole file."""
        blob = self._folder.blob(file.sha256)
        if _is_whole(pointer, file):
            return
        arrived = not _is_whole(blob, file)
        if arrived:
            self._fetch(file)
        self._folder.link(file.sha256, file.commit, file.name)
        if arrived:
            self._records.note_verified(pointer, file.sha256)

    def _fetch(self, file: HubFile) -> None:
        part, blob = self._folder.part(file.sha256), self._folder.blob(file.sha256)
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            fetch(file, part, self._at, self._pause)
        except Damaged as error:
            self._say(f"{error}. Fetching it again.")
            self._fetch_again(file, part)
        part.replace(blob)

    def _fetch_again(self, file: HubFile, part: Path) -> None:
        try:
            fetch(file, part, self._at, self._pause)
        except Damaged as error:
            raise ModelError(
                f"{file.name} arrived damaged twice: its sha256 is {error.sha256}, not {file.sha256}",
                "Something between here and the hub changes it: a proxy, a mirror, or bad memory.",
            ) from None

    def _is_right(self, pointer: Path, file: HubFile) -> bool:
        """Whether a whole file has the right hash; read if nobody has before."""
        known = self._records.verified(pointer)
        if known is None or known.sha256 != file.sha256:
            sha256 = sha256_of(pointer, lambda done: self._at(done, f"checking {file.name}"))
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
        """Hold the lock of `file`, once whoever fetches it now is done."""
        lock = self._folder.lock(file.sha256)
        lock.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(WeakFileLock(lock, timeout=_LOCK_SECONDS))
                    break
                except TimeoutError:
                    self._at(_present_bytes(file), "another program is fetching it")
            yield

    def _at(self, here: int, doing: str = "") -> None:
        self._here = here
        now = time.monotonic()
        if now >= self._next_news:
            self._next_news = now + _SECONDS_BETWEEN_NEWS
            self._watch(Transfer(self._before + here, self._model.n_bytes, doing))

    def _pause(self, seconds: float, why: str) -> None:
        end = time.monotonic() + seconds
        self._next_news = 0.0
        while (left := end - time.monotonic()) > 0:
            self._at(self._here, f"{why}; trying again in {math.ceil(left)} s")
            time.sleep(min(left, 0.5))

    def _disk_error(self, error: OSError) -> ModelError:
        name = self._model.reference
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            left = math.ceil(missing_bytes(self._model) / 1e8) / 10
            hint = f"Free {left} GB and pull again: it goes on from there. HF_HOME moves the cache."
            return ModelError(f"the disk of {hub_cache()} is full", hint)
        return ModelError(f"cannot store {name} in {hub_cache()}: {error.strerror or error}")


def _present_bytes(file: HubFile) -> int:
    folder = RepoFolder.of(file.repo)
    for path in (folder.pointer(file.commit, file.name), folder.blob(file.sha256), folder.part(file.sha256)):
        with contextlib.suppress(OSError):
            return min(path.stat().st_size, file.n_bytes)
    return 0


def _is_whole(path: Path, file: HubFile) -> bool:
    with contextlib.suppress(OSError):
        return path.stat().st_size == file.n_bytes
    return False
