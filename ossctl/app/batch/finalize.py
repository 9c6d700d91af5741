"""Bringing an output into its last form: each id once, and in the input's order if that is wanted."""

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from ossctl.app.batch.resume import Lines, record_in
from ossctl.app.wire.source import id_hash
from ossctl.storage.compression import encoder_for, is_compressed
from ossctl.storage.journal import OutputFile

_Places = npt.NDArray[np.intp]
_BLOCK_BYTES = 1 << 20


def settle(output: OutputFile, order: "array[int] | None", *, input_is_complete: bool) -> None:
    """Leave the last record of each id; in `order` (hashes of ids), if that is given.

    Error records of ids that `order` lacks are left out if the input was read completely: their lines were
    mended, and have other ids now. Other records are never left out. What is as it should be stays untouched;
    else a new file takes the old one's place in one move. Raises OssctlError.
    """
    if not output.path.exists() or not output.path.stat().st_size:
        return
    index = _Index(output.path)
    if order and np.array_equal(index.ids, np.frombuffer(order, np.uint64)):
        return
    places = index.chosen(order if input_is_complete else None)
    if order:
        places = places[np.argsort(_ranks(index.ids[places], order), kind="stable")]
    if np.array_equal(places, np.arange(len(index.ids))):
        return
    output.replace(lambda file: _copy(output.path, index, places, file))


class _Index:
    """Where the lines of an output are: id hashes, offsets, and which are errors."""

    def __init__(self, path: Path) -> None:
        ids, offsets, failed = array("Q"), array("Q", [0]), bytearray()
        for line in Lines(path):
            record = record_in(line)
            if record is None:
                raise ValueError(f"{path} has changed while it was written")
            ids.append(id_hash(record.custom_id))
            offsets.append(offsets[-1] + len(line))
            failed.append(record.failed)
        self.ids: Any = np.asarray(ids)
        self.offsets: Any = np.asarray(offsets)
        self._failed: Any = np.asarray(failed).view(np.bool_)

    def chosen(self, known: "array[int] | None") -> _Places:
        """The places of the lines that stay, in the file's order."""
        order = np.argsort(self.ids, kind="stable")
        last = np.append(self.ids[order][1:] != self.ids[order][:-1], True)[: len(order)]
        keep = np.zeros(len(order), np.bool_)
        keep[order[last]] = True
        if known is not None:
            keep &= ~self._failed | np.isin(self.ids, np.frombuffer(known, np.uint64))
        return np.flatnonzero(keep)


def _ranks(ids: Any, order: "array[int]") -> Any:
    """The place of each id in `order`; ids that are not there come last."""
    wanted = np.frombuffer(order, np.uint64)
    sorting = np.argsort(wanted, kind="stable")
    at = np.minimum(np.searchsorted(wanted, ids, sorter=sorting), len(wanted) - 1)
    found = wanted[sorting[at]] == ids
    return np.where(found, sorting[at], len(wanted))


def _copy(path: Path, index: _Index, places: _Places, target: BinaryIO) -> None:
    encoder = encoder_for(path)
    with _seekable(path) as source:
        block = bytearray()
        for place in places:
            start, end = int(index.offsets[place]), int(index.offsets[place + 1])
            if source.tell() != start:
                source.seek(start)
            block += source.read(end - start)
            if len(block) > _BLOCK_BYTES:
                target.write(encoder.encode(bytes(block)))
                block.clear()
        target.write(encoder.encode(bytes(block)) + encoder.finish())


@contextmanager
def _seekable(path: Path) -> Iterator[BinaryIO]:
    """The contents of a file; of a compressed one, where no place can be gone to, a copy."""
    if not is_compressed(path):
        with path.open("rb") as file:
            yield file
        return
    with TemporaryFile(dir=path.resolve().parent) as copy:
        for line in Lines(path):
            copy.write(line)
        copy.seek(0)
        yield cast("BinaryIO", copy)
