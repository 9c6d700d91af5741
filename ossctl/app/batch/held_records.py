"""The spool of `--order input`: a file of finished records that wait for an earlier line."""

from collections.abc import Iterable
from pathlib import Path

from ossctl.storage.journal import FilePolicy, Journal, OutputFile

_MAX_APPENDS = 4096  # before the file is rewritten without the records that have left


def held_path(output: Path) -> Path:
    """The path of the spool, beside `output`."""
    path = output.resolve()
    return path.with_name(f".{path.name}.waiting")


class HeldRecords:
    """Keeps a copy of waiting records on disk, so that they survive the process."""

    def __init__(self, output: Path, earlier: dict[str, bytes], *, durable: bool) -> None:
        """`earlier` are the records that an earlier run left. The caller removes each one that it writes.

        Raises UsageError if the file can't be written.
        """
        self._path = held_path(output)
        self._earlier = earlier
        if not earlier:
            self._path.unlink(missing_ok=True)
        self._file = OutputFile(FilePolicy(self._path, durable), overwrite=False)
        self._journal: Journal | None = None
        self._appends = 0

    def add(self, record: bytes, held: Iterable[bytes | None]) -> None:
        """Spool `record`; `held` are all records that wait, including this one. Raises OssctlError."""
        if self._journal is not None and self._appends < _MAX_APPENDS:
            self._journal.append(record)
            self._appends += 1
            return
        records = [*self._earlier.values(), *filter(None, held)]
        self._file.replace(lambda file: file.writelines(each + b"\n" for each in records))
        self._journal, self._appends = self._file.journal(), 0

    def close(self) -> None:
        """Close the file, but keep it."""
        self._file.close()

    def remove(self) -> None:
        """Delete the file, because no record waits any more."""
        self.close()
        self._path.unlink(missing_ok=True)
