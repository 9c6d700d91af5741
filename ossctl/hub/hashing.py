"""SHA-256 of files, one that is there and one that is being written."""

import hashlib
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import Self

_BLOCK = 4 * 1024 * 1024  # hashlib lets other threads run meanwhile; larger ones are no faster


def sha256_of(path: Path, watch: Callable[[int], None] = lambda _n_bytes: None) -> str:
    """The hash of a file, in hexadecimal. `watch` is told the bytes done so far. Raises OSError."""
    digest = hashlib.sha256()
    block = memoryview(bytearray(_BLOCK))
    done = 0
    with path.open("rb", buffering=0) as file:
        while n_bytes := file.readinto(block):
            digest.update(block[:n_bytes])
            done += n_bytes
            watch(done)
    return digest.hexdigest()


class FollowingHash:
    """The hash of a file while it grows: a thread reads what was written, right behind the writer.

    So a download is checked when its last byte is there, and what an earlier one left is read only once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = Condition()
        self._written = 0
        self._announced = 0  # of these, what the thread may read
        self._generation = 0  # counts how often the file was begun anew
        self._finished = False
        self._result: str | OSError | None = None
        self._thread = Thread(target=self._follow, name="hash", daemon=True)

    def grown(self, n_bytes: int) -> None:
        """The file's first `n_bytes` bytes are written. The thread is woken for whole blocks only."""
        if n_bytes - self._announced >= _BLOCK:
            with self._changed:
                self._announced = n_bytes
                self._changed.notify()
        self._written = n_bytes

    def begun_anew(self) -> None:
        """The file is empty again."""
        with self._changed:
            self._written = self._announced = 0
            self._generation += 1
            self._changed.notify()

    def result(self) -> str:
        """The hash, in hexadecimal, of all that was written. Raises OSError if it cannot be read."""
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
            self._announced = 0 if kind else self._announced  # nobody will ask: stop where it is
            self._changed.notify()
        self._thread.join()

    def _follow(self) -> None:
        try:
            with self._path.open("rb", buffering=0) as file:
                while (digest := self._generation_of(file)) is None:
                    file.seek(0)
        except OSError as error:
            self._result = error
        else:
            self._result = digest

    def _generation_of(self, file: FileIO) -> str | None:
        """The hash of the file, to its end; None if it was begun anew."""
        digest = hashlib.sha256()
        block = memoryview(bytearray(_BLOCK))
        generation, done = self._generation, 0
        while True:
            with self._changed:
                while self._generation == generation and self._announced <= done and not self._finished:
                    self._changed.wait()
                if self._generation != generation:
                    return None
                available = self._announced - done
            if available <= 0:
                return digest.hexdigest()
            n_bytes = file.readinto(block[: min(available, _BLOCK)])
            digest.update(block[:n_bytes])
            done += n_bytes
