"""Puts an output into its final form: one record per id, in the order of the input if that is wanted."""

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from ossctl.app.batch.finished import last_of_each
from ossctl.app.batch.resume import OutputLines
from ossctl.app.batch.written_record import decode_record
from ossctl.app.wire.source import id_hash
from ossctl.storage.compression import encode_in_blocks, encoder_for, is_compressed
from ossctl.storage.journal import OutputFile

_Indices = npt.NDArray[np.intp]


def finalize(output: OutputFile, order: "array[int] | None", *, input_is_complete: bool) -> None:
    """Keep the last record of each id, sorted by `order` (hashes of ids) if that is given.

    With `input_is_complete`, failures whose ids are not in `order` are dropped: their lines were corrected or
    removed. An output that needs no change is not touched, any other is replaced atomically. Raises
    OssctlError.
    """
    if not output.path.exists() or not output.path.stat().st_size:
        return
    index = _Index(output.path)
    if order and np.array_equal(index.ids, np.asarray(order)):
        return
    kept = index.kept(order if input_is_complete else None)
    if order:
        kept = kept[np.argsort(ranks(index.ids[kept], order), kind="stable")]
    if np.array_equal(kept, np.arange(len(index.ids))):
        return
    output.replace(lambda file: _copy(output.path, index, kept, file))


class _Index:
    """The id hash and the byte offset of each line of an output, and whether it is a failure."""

    def __init__(self, path: Path) -> None:
        ids, offsets, failed = array("Q"), array("Q", [0]), array("b")
        for line in OutputLines(path):
            record = decode_record(line)
            if record is None:
                raise ValueError(f"{path} has changed while it was written")
            ids.append(id_hash(record.custom_id))
            offsets.append(offsets[-1] + len(line))
            failed.append(record.failed)
        self.ids = np.asarray(ids)
        self.offsets = offsets
        self._failed = np.asarray(failed, np.bool_)

    def kept(self, known: "array[int] | None") -> _Indices:
        """The indices of the lines to keep, in file order. Failures of ids not in `known` are dropped."""
        last = np.sort(last_of_each(self.ids))
        if known is None:
            return last
        return last[~self._failed[last] | np.isin(self.ids[last], np.asarray(known))]


def ranks(ids: npt.NDArray[np.uint64], order: "array[int]") -> npt.NDArray[np.intp]:
    """The index of each id in `order`, or the length of `order` if it is not there."""
    wanted = np.asarray(order)
    sorting = np.argsort(wanted, kind="stable")
    found = sorting[np.minimum(np.searchsorted(wanted, ids, sorter=sorting), len(wanted) - 1)]
    return np.where(wanted[found] == ids, found, len(wanted))


def _copy(path: Path, index: _Index, kept: _Indices, target: BinaryIO) -> None:
    encoder = encoder_for(path)
    with _seekable(path) as source:
        target.writelines(encode_in_blocks(_lines_at(source, index.offsets, kept), encoder))
    target.write(encoder.finish())


def _lines_at(source: BinaryIO, offsets: "array[int]", kept: _Indices) -> Iterator[bytes]:
    for index in kept:
        start, end = offsets[index], offsets[index + 1]
        if source.tell() != start:
            source.seek(start)
        yield source.read(end - start)


@contextmanager
def _seekable(path: Path) -> Iterator[BinaryIO]:
    """Open an output for random access: a compressed one as a decompressed temporary copy."""
    if not is_compressed(path):
        with path.open("rb") as file:
            yield file
        return
    with TemporaryFile(dir=path.resolve().parent) as copy:
        copy.writelines(OutputLines(path))
        copy.seek(0)
        yield cast("BinaryIO", copy)
