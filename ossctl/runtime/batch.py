"""A batch of tokens in the form that llama.cpp decodes."""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from ossctl.runtime.base import Chunk
from ossctl.runtime.bindings import lib


class LlamaBatch:
    """A `llama_batch` of up to `n_batch` tokens whose arrays numpy fills."""

    def __init__(self, n_batch: int) -> None:
        self._tokens = np.zeros(n_batch, np.int32)
        self._positions = np.zeros(n_batch, np.int32)
        self._sequences = np.zeros(n_batch, np.int32)
        self._outputs = np.zeros(n_batch, np.int8)
        self._counts = np.ones(n_batch, np.int32)
        step = self._sequences.itemsize  # llama.cpp wants a pointer to its sequence ids for every token
        base = self._sequences.ctypes.data
        self._pointers = np.arange(base, base + n_batch * step, step, dtype=np.uintp)
        self.struct = lib.llama_batch()
        types: dict[str, Any] = {name: kind for name, kind, *_ in lib.llama_batch._fields_}
        for field, array in (
            ("token", self._tokens),
            ("pos", self._positions),
            ("n_seq_id", self._counts),
            ("seq_id", self._pointers),
            ("logits", self._outputs),
        ):
            setattr(self.struct, field, ctypes.cast(array.ctypes.data, types[field]))

    def fill(self, chunks: Sequence[Chunk], lengths: Sequence[int]) -> None:
        """Replace the content by `chunks`; `lengths` is how many tokens each sequence holds already."""
        end = 0
        for chunk in chunks:
            start, end = end, end + len(chunk.tokens)
            first = lengths[chunk.seq]
            self._tokens[start:end] = chunk.tokens
            self._sequences[start:end] = chunk.seq
            self._outputs[start:end] = 0
            self._outputs[end - chunk.n_rows : end] = 1
            if end - start == 1:
                self._positions[start] = first
            else:
                self._positions[start:end] = np.arange(first, first + end - start)
        self.struct.n_tokens = end

    def want_all(self) -> None:
        """Ask for an output of every token, as pooled embeddings need."""
        self._outputs[: self.struct.n_tokens] = 1
