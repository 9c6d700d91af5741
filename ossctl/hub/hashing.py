"""SHA-256 of files, complete ones and ones that are being written."""

import hashlib
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import Self

_BLOCK = 4 * 1024 * 1024  # bytes; hashlib releases the GIL meanwhile, and larger blocks are no faster


def sha256_of(path: Path, on_progress: Callable[[int], None] = lambda _n_bytes: None) -> str:
    """The hexadecimal hash of a file. `on_progress` gets the bytes hashed so far. Raises OSError."""
    digest = hashlib.sha256()
    block = memoryview(bytearray(_BLOCK))
    done = 0
    with path.open("rb", buffering=0) as file:
        while n_bytes := file.readinto(block):
            digest.update(block[:n_bytes])
            done += n_bytes
            on_progress(done)
    return digest.hexdigest()


class FollowingHash:
    """Hash a growing file on a thread that follows the writer.

    The hash of a download is then known as soon as its last byte has arrived.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = Condition()
        self._written = 0
        self._announced = 0  # bytes that the thread may read
        self._n_restarts = 0
        self._finished = False
        self._result: str | OSError | None = None
        self._thread = Thread(target=self._follow, name="hash", daemon=True)

    def advance(self, n_bytes: int) -> None:
        """Report that `n_bytes` bytes are written. Wakes the thread for whole blocks only."""
        if n_bytes - self._announced >= _BLOCK:
            with self._changed:
                self._announced = n_bytes
                self._changed.notify()
        self._written = n_bytes

    def restart(self) -> None:
        """Report that the file was truncated to nothing."""
        with self._changed:
            self._written = self._announced = 0
            self._n_restarts += 1
            self._changed.notify()

    def result(self) -> str:
        """Wait for the hexadecimal hash of all that was written. Raises OSError."""
        with self._changed:
            self._finished = True
            self._announced = self._written
            self._changed.notify()
        self._thread.join()
        if isinstance(self._result, OSError):
            raise self._result
        return str(self._result)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._finished = True
            self._announced = 0 if kind else self._announced  # after an error the hash is not needed
            self._changed.notify()
        self._thread.join()

    def _follow(self) -> None:
        try:
            with self._path.open("rb", buffering=0) as file:
                while (digest := self._hash_until_restart(file)) is None:
                    file.seek(0)
        except OSError as error:
            self._result = error
        else:
            self._result = digest

    def _hash_until_restart(self, file: FileIO) -> str | None:
        """The hash of the whole file, or None if it was restarted meanwhile."""
        digest = hashlib.sha256()
        block = memoryview(bytearray(_BLOCK))
        restarts, done = self._n_restarts, 0
        while True:
            with self._changed:
                while self._n_restarts == restarts and self._announced <= done and not self._finished:
                    self._changed.wait()
                if self._n_restarts != restarts:
                    return None
                available = self._announced - done
            if available <= 0:
                return digest.hexdigest()
            n_bytes = file.readinto(block[: min(available, _BLOCK)])
            digest.update(block[:n_bytes])
            done += n_bytes
