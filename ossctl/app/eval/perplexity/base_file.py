"""What a base model computes, in a temporary file: too much for memory, and needed by every other model."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from ossctl.app.eval.perplexity.log_probs import Floats, Rows, row_type
from ossctl.errors import OssctlError, UsageError
from ossctl.runtime.base import Tokens

_SPARE = 1 << 30  # bytes of disk to leave free


class BaseFile:
    """The chunks that a base model was given, and the log-probabilities that it gave them.

    16 bits for each, as llama-perplexity has them, give figures that can be compared with its own, in half
    the space of 32-bit numbers. They are off by at most 0.00012 nats, to either side, which averages out;
    half-precision numbers would be off by up to 0.004. Those of the text's own tokens are kept exactly.
    """

    def __init__(self, folder: Path, n_vocab: int, rows_per_chunk: int) -> None:
        """Make a nameless file in `folder`, deleted when it is closed. Raises OssctlError."""
        self.row_type = row_type(n_vocab)
        self._folder, self._rows_per_chunk = folder, rows_per_chunk
        self._chunks: list[Tokens] = []
        self._log_probs: list[Floats] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by `close`)
        except OSError as error:
            raise OssctlError(f"cannot write to {folder}: {error.strerror}") from None

    def check_space(self, n_chunks: int) -> None:
        """Raise UsageError unless the disk has space for that many chunks."""
        size = self._rows_per_chunk * self.row_type.itemsize
        free = max(0, shutil.disk_usage(self._folder).free - _SPARE)
        if n_chunks * size > free:
            raise UsageError(
                f"the base model's log-probabilities for {n_chunks:,} chunks need "
                f"{n_chunks * size / 1e9:,.1f} GB, but {self._folder} has {free / 1e9:,.1f} GB to spare",
                f"Use --chunks {free // size}, or set OSSCTL_HOME to a folder on another disk.",
            )

    def write(self, rows: Rows) -> None:
        """Append rows of `row_type`. Raises OssctlError if the disk is full."""
        try:
            self._file.write(rows.data)
        except OSError as error:
            raise OssctlError(
                f"cannot write the base model's log-probabilities to {self._folder}: {error.strerror}",
                "Use fewer --chunks, or set OSSCTL_HOME to a folder on another disk.",
            ) from None

    def end_chunk(self, tokens: Tokens, log_probs: Floats) -> None:
        """Add a chunk whose rows have been written."""
        self._chunks.append(tokens)
        self._log_probs.append(log_probs)

    def __len__(self) -> int:
        return len(self._chunks)

    def __iter__(self) -> Iterator[Tokens]:
        return iter(self._chunks)

    def log_probs(self, chunk: int) -> Floats:
        """The log-probabilities of the scored tokens of a chunk."""
        return self._log_probs[chunk]

    def rows(self) -> Rows:
        """The rows of all chunks, mapped from the file."""
        self._file.flush()
        shape = (len(self) * self._rows_per_chunk,)
        return np.memmap(self._file, self.row_type, "r", shape=shape)

    def close(self) -> None:
        """Delete the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
