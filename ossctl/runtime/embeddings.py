"""A llama.cpp context that turns texts into vectors.

Causal models with the last token's vector read a long input in pieces. All others need the whole input in one
ubatch, so the context is made anew, and larger, when an input exceeds it.
"""

import ctypes
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ossctl.errors import MemoryShortage
from ossctl.runtime.base import Chunk, DecodeFailed, Tokens
from ossctl.runtime.batch import LlamaBatch
from ossctl.runtime.bindings import lib
from ossctl.runtime.context import create_context
from ossctl.runtime.host import physical_cores
from ossctl.runtime.log import llama_log
from ossctl.runtime.model import LlamaModel
from ossctl.runtime.worker_watch import worker_watch

Vectors = npt.NDArray[np.float32]

_LAST = 3  # enum llama_pooling_type, include/llama.h
_MAX_INPUTS = 64  # in one decode


class LlamaEmbedder:
    """Vectors of unit length from a model whose metadata says how to pool.

    `max_tokens` is the limit of an input. Up to `n_batch` tokens of several inputs are decoded together; it
    grows with the longest input.
    """

    max_inputs = _MAX_INPUTS

    def __init__(self, model: LlamaModel, n_batch: int, max_tokens: int, n_threads: int = 0) -> None:
        """Allocate the buffers. Raises MemoryShortage."""
        self._model = model
        self._log = llama_log()
        self._handle: Any = None
        self.n_threads = n_threads or physical_cores()
        self.max_tokens = max_tokens
        self.n_embd: int = lib.llama_model_n_embd_out(model.handle)
        self._before, self._after = _frame(model)
        causal = model.header.metadata.get(f"{model.header.architecture}.attention.causal", True)
        self._splits = bool(causal) and model.header.pooling == _LAST
        self._allocate(n_batch, n_batch)
        self._splits = self._splits and bool(lib.llama_get_memory(self._handle))

    def tokenize(self, text: str) -> Tokens:
        """The tokens of an input, with those that the model wants at its start and end."""
        return np.array([*self._before, *self._model.vocab.tokenize(text), *self._after], np.int32)

    def embed(self, inputs: Sequence[Tokens]) -> Vectors:
        """The vectors of `inputs`, float32 [number of inputs, n_embd].

        They are one input, or up to `max_inputs` of up to `n_batch` tokens together. Raises DecodeFailed,
        MemoryShortage.
        """
        longest = max(map(len, inputs))
        if not 0 < longest <= self.max_tokens or len(inputs) > _MAX_INPUTS:
            raise ValueError(f"cannot embed {len(inputs)} inputs of up to {longest} tokens")
        total = sum(map(len, inputs))
        if total > self.n_ctx:
            self._grow(self.n_batch if self._splits else total, total)
        if memory := lib.llama_get_memory(self._handle):
            lib.llama_memory_clear(memory, False)
        if total > self.n_batch:
            self._decode_in_pieces(inputs)
        else:
            self._decode([Chunk(seq, tokens, wants_logits=True) for seq, tokens in enumerate(inputs)])
        return _normalized(np.stack([self._vector(seq) for seq in range(len(inputs))]))

    def _decode_in_pieces(self, inputs: Sequence[Tokens]) -> None:
        """Decode one input; the vector of its last piece remains."""
        if len(inputs) > 1:
            raise ValueError("the inputs exceed a batch")
        for start in range(0, len(inputs[0]), self.n_batch):
            self._decode([Chunk(0, inputs[0][start : start + self.n_batch], wants_logits=True)], start)

    def _decode(self, chunks: Sequence[Chunk], start: int = 0) -> None:
        self._batch.fill(chunks, [start] * len(chunks))
        self._batch.want_all()
        self._log.clear()
        with worker_watch():
            code = lib.llama_decode(self._handle, self._batch.struct)
        if code != 0:
            raise DecodeFailed(f"llama_decode returned {code}: {self._log.reason()}")

    def _vector(self, seq: int) -> Vectors:
        with worker_watch():
            found = lib.llama_get_embeddings_seq(self._handle, seq)
        if not found:
            raise DecodeFailed(f"there is no embedding of input {seq}")
        return np.ctypeslib.as_array(found, (self.n_embd,)).copy()

    def _grow(self, n_batch: int, n_ctx: int) -> None:
        """Allocate larger buffers, or as before if they do not fit. Raises MemoryShortage."""
        before = self.n_batch, self.n_ctx
        try:
            self._allocate(n_batch, n_ctx)
        except MemoryShortage:
            self._allocate(*before)
            raise

    def _allocate(self, n_batch: int, n_ctx: int) -> None:
        self.close()
        n_batch += -n_batch % _MAX_INPUTS  # of another multiple, llama.cpp aborts when it pools the mean
        params = lib.llama_context_default_params()
        params.n_ctx = max(n_ctx, n_batch)
        params.n_seq_max = _MAX_INPUTS
        params.n_batch = params.n_ubatch = params.n_outputs_max = n_batch
        params.n_threads = params.n_threads_batch = self.n_threads
        params.kv_unified = True
        # It skips the tokens of other inputs; without it, 16 texts of 32 tokens take 3 times as long.
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_AUTO
        params.embeddings = True
        params.no_perf = True
        self._handle = create_context(self._model, params)
        self.n_batch, self.n_ctx = n_batch, int(params.n_ctx)
        self._batch = LlamaBatch(n_batch)

    def close(self) -> None:
        """Free the buffers. Calling it again does nothing."""
        if self._handle is not None:
            lib.llama_free(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _frame(model: LlamaModel) -> tuple[list[int], list[int]]:
    """The tokens that llama.cpp adds before and after a text, such as [CLS] and [SEP]."""
    bare, framed = (_tokens(model, b"a", special=special) for special in (False, True))
    start = next(i for i in range(len(framed)) if framed[i : i + len(bare)] == bare)
    return framed[:start], framed[start + len(bare) :]


def _tokens(model: LlamaModel, text: bytes, *, special: bool) -> list[int]:
    buffer = (ctypes.c_int32 * 16)()
    vocab = lib.llama_model_get_vocab(model.handle)
    return buffer[: lib.llama_tokenize(vocab, text, len(text), buffer, len(buffer), special, False)]


def _normalized(vectors: Vectors) -> Vectors:
    """`vectors` with unit length; zeros stay zeros. Raises DecodeFailed for what is not a number."""
    lengths = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1, keepdims=True))
    if not np.isfinite(lengths).all():
        raise DecodeFailed("the model computed vectors that are not finite numbers")
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
