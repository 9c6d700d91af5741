"""The file beside an output in the input's order: finished records that a line before them holds back."""

from collections.abc import Iterable
from pathlib import Path

from ossctl.storage.journal import FilePolicy, Journal, OutputFile

_MOST = 4096  # records that are appended before it is written anew, with those that still wait


def beside(output: Path) -> Path:
    """The path of that file."""
    path = output.resolve()
    return path.with_name(f".{path.name}.waiting")


class ReorderSpool:
    """Has what waits outlive the process, until `remove`."""

    def __init__(self, output: Path, before: dict[str, bytes], *, durable: bool) -> None:
        """`before` is what an earlier run left there, without what is claimed meanwhile; else it is stale.

        Raises UsageError if the file can't be written.
        """
        self._path = beside(output)
        self._before = before
        if not before:
            self._path.unlink(missing_ok=True)
        self._file = OutputFile(FilePolicy(self._path, durable), overwrite=False)
        self._journal: Journal | None = None
        self._appended = 0

    def keep(self, record: bytes, held: Iterable[bytes | None]) -> None:
        """`record` waits from now on; `held` are all that do. Raises OssctlError."""
        if self._journal is not None and self._appended < _MOST:
            self._journal.append(record)
            self._appended += 1
            return
        left = [*self._before.values(), *filter(None, held)]
        self._file.replace(lambda file: file.writelines(each + b"\n" for each in left))
        self._journal, self._appended = self._file.journal(), 0

    def close(self) -> None:
        """Let go of the file, which stays."""
        self._file.close()

    def remove(self) -> None:
        """Nothing waits any longer."""
        self.close()
        self._path.unlink(missing_ok=True)
