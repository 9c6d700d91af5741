"""`Runner` over a llama.cpp context: a KV cache and decodes into it.

llama.cpp aborts the process on invalid calls (too many tokens or outputs, a row of logits that was not
requested), so every call is checked here first.
"""

import ctypes
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ossctl.errors import MemoryShortage
from ossctl.runtime.base import (
    CacheFull,
    Chunk,
    DecodeAborted,
    DecodeFailed,
    Logits,
    RollbackImpossible,
    Snapshot,
)
from ossctl.runtime.batch import LlamaBatch
from ossctl.runtime.bindings import lib
from ossctl.runtime.breakdown import Breakdown, memory_breakdown
from ossctl.runtime.host import physical_cores
from ossctl.runtime.log import llama_log
from ossctl.runtime.model import LlamaModel
from ossctl.runtime.worker_watch import worker_watch

_NO_SLOT, _ABORTED = 1, 2  # llama_decode's return codes, include/llama.h
_PARTIAL_ONLY = 1  # LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
_WHOLE = 0
_KV_TYPES = {"f16": 1, "q8_0": 8}  # enum ggml_type


@dataclass(frozen=True)
class ContextOptions:
    """Sizes of the KV cache and of batches, in tokens.

    If `unified`, all sequences share `n_ctx` cells, which suits sequences of different lengths. Otherwise
    each of the `n_seq` sequences has `n_ctx` cells of its own, and decoding many of them is faster.
    `n_outputs` is the largest number of rows of logits of a decode; 0 means one per sequence.
    """

    n_ctx: int = 4096
    n_seq: int = 1
    n_batch: int = 2048
    n_ubatch: int = 512
    unified: bool = False
    n_threads: int = 0  # 0: all physical cores
    kv_type: str = "f16"  # or q8_0, of half the size
    flash_attention: bool = True  # without it, a CPU decodes faster but stores all scores
    n_outputs: int = 0

    def validate(self) -> None:
        """Raise ValueError for sizes on which llama.cpp would abort the process."""
        limit = lib.llama_max_parallel_sequences()
        if not 1 <= self.n_seq <= limit:
            raise ValueError(f"n_seq is {self.n_seq}, must be from 1 to {limit}")
        if min(self.n_ctx, self.n_ubatch, self.n_batch) < 1:
            raise ValueError("n_ctx, n_batch and n_ubatch must be at least 1")
        if self.kv_type not in _KV_TYPES:
            raise ValueError(f"kv_type is {self.kv_type}, must be one of {', '.join(_KV_TYPES)}")
        if self.kv_type != "f16" and not self.flash_attention:
            raise ValueError(f"kv_type {self.kv_type} needs flash attention")
        if self.n_batch < self.n_seq:
            raise ValueError(f"n_batch {self.n_batch} is smaller than n_seq {self.n_seq}")


class LlamaRunner:
    """`Runner` over a llama.cpp context."""

    def __init__(self, model: LlamaModel, options: ContextOptions) -> None:
        """Allocate the cache. Raises MemoryShortage, ValueError."""
        options.validate()
        self._log = llama_log()
        self._watch = worker_watch()
        self._handle: Any = None
        self._abort_flag = ctypes.create_string_buffer(b"", 2)
        self.unified = options.unified
        self.window = model.window
        self.recurrent = model.recurrent
        self.n_vocab = model.n_vocab
        self.n_seq = options.n_seq
        self.n_threads = options.n_threads or physical_cores()
        self.n_rows = max(options.n_outputs, options.n_seq)
        self._params = _context_params(options, self.n_threads, self._abort_flag)
        self._handle = create_context(model, self._params)
        self.buffers = self._log.buffers()
        self._memory = lib.llama_get_memory(self._handle)
        self.n_batch = min(options.n_batch, lib.llama_n_batch(self._handle))
        self.n_ubatch = min(self.n_batch, lib.llama_n_ubatch(self._handle))
        self.n_ctx_seq = min(options.n_ctx, lib.llama_n_ctx_seq(self._handle))
        self.n_cells = self.n_ctx_seq * (1 if options.unified else options.n_seq)
        self._lengths = [0] * self.n_seq
        self._lost: set[int] = set()  # sequences whose recurrent state an abort has left undefined
        self._batch = LlamaBatch(self.n_batch)

    @property
    def handle(self) -> Any:
        """The C API's pointer. Raises ValueError after `close`."""
        return self._open()

    @property
    def needs_snapshots(self) -> bool:
        return self.window > 0 or self.recurrent

    def breakdown(self) -> Breakdown:
        """Bytes of weights, cache and compute by the buffer's name; {} if llama.cpp does not tell."""
        return memory_breakdown(self._open())

    def decode(self, chunks: Sequence[Chunk]) -> Logits:
        handle = self._open()
        n_outputs = self._check(chunks)
        self._batch.fill(chunks, self._lengths)
        self._log.clear()
        with self._watch:
            code = lib.llama_decode(handle, self._batch.struct)
            logits = lib.llama_get_logits(handle) if code == 0 and n_outputs else None  # waits for devices
        if code == _NO_SLOT:
            raise CacheFull
        if code == _ABORTED:
            raise DecodeAborted(self._lengths_after_abort(chunks))
        if code != 0:
            raise DecodeFailed(f"llama_decode returned {code}: {self._log.reason()}")
        for chunk in chunks:
            self._lengths[chunk.seq] += len(chunk.tokens)
        if logits is None:
            return np.empty((0, self.n_vocab), np.float32)
        return np.ctypeslib.as_array(logits, (n_outputs, self.n_vocab))

    def snapshot(self, seq: int) -> Snapshot:
        self._check_sequence(seq)
        if not self.needs_snapshots:
            return Snapshot(self._lengths[seq], b"")
        return Snapshot(self._lengths[seq], self._save(seq, _PARTIAL_ONLY))

    def can_rollback(self, seq: int, n_tokens: int) -> bool:
        self._check_sequence(seq)
        if n_tokens == 0 or not self.needs_snapshots:
            return True
        if n_tokens == self._lengths[seq]:
            return seq not in self._lost
        return not self.recurrent and self._window_reaches(seq, n_tokens)

    def rollback(self, seq: int, n_tokens: int, snapshot: Snapshot | None = None) -> None:
        self._check_rollback(seq, n_tokens, snapshot)
        # A failed decode may have left cells in an empty sequence.
        if n_tokens < self._lengths[seq] or n_tokens == 0 or seq in self._lost:
            self._cut(seq, n_tokens, snapshot)

    def copy(self, source: int, target: int, n_tokens: int, snapshot: Snapshot | None = None) -> None:
        """As in `Runner`. Sequences of a unified cache share the cells; streams are copied through the host.

        llama_memory_seq_cp between streams is deferred to the next decode, where it would overwrite a window
        restored in the meantime, so streams are copied at once, as saved state. In a unified cache, window
        cells shared by two sequences could never be reused, so the target gets its own, as it does of a
        recurrent state.
        """
        self._check_rollback(source, n_tokens, snapshot)
        if source == target:
            raise ValueError("a sequence cannot be copied onto itself")
        self.rollback(target, 0)
        if self.unified:
            lib.llama_memory_seq_cp(self._memory, source, target, 0, n_tokens)
            if self.needs_snapshots and snapshot is None:
                snapshot = Snapshot(n_tokens, self._save(target, _PARTIAL_ONLY))
        else:
            self._restore(target, self._save(source, _WHOLE), _WHOLE)
        self._cut(target, n_tokens, snapshot)

    def save(self, seq: int) -> bytes:
        self._check_sequence(seq)
        return self._save(seq, _WHOLE)

    def load(self, seq: int, n_tokens: int, state: bytes) -> None:
        self.rollback(seq, 0)
        self._restore(seq, state, _WHOLE)
        self._cut(seq, n_tokens, None)

    def abort(self) -> None:
        self._abort_flag.value = b"x"

    def resume(self) -> None:
        self._abort_flag.value = b""

    def close(self) -> None:
        """Free the cache. Calling it again does nothing; any other method then raises ValueError."""
        if self._handle is not None:
            with self._watch:
                lib.llama_free(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lengths_after_abort(self, chunks: Sequence[Chunk]) -> dict[int, int]:
        """The new lengths: llama.cpp keeps complete ubatches and has removed the cells of the others.

        A recurrent state has no earlier version: its sequences are lost, and cleared where they were empty.
        """
        if self.recurrent:
            self._lost.update(chunk.seq for chunk in chunks)
            for chunk in chunks:
                if not self._lengths[chunk.seq]:
                    self.rollback(chunk.seq, 0)
            return {chunk.seq: 0 for chunk in chunks}
        for chunk in chunks:
            self._lengths[chunk.seq] = lib.llama_memory_seq_pos_max(self._memory, chunk.seq) + 1
        return {chunk.seq: self._lengths[chunk.seq] for chunk in chunks}

    def _cut(self, seq: int, n_tokens: int, snapshot: Snapshot | None) -> None:
        """Restore the snapshot, remove all but the first `n_tokens` cells, and verify the length.

        In this order: a recurrent state refuses to lose its latest tokens, and then no cell is removed.
        """
        if n_tokens and snapshot is not None and snapshot.data:
            self._restore(seq, snapshot.data, _PARTIAL_ONLY)
        removed = lib.llama_memory_seq_rm(self._memory, seq, n_tokens, -1)
        self._lost.discard(seq)
        held = lib.llama_memory_seq_pos_max(self._memory, seq) + 1
        if not removed or held != n_tokens:
            lib.llama_memory_seq_rm(self._memory, seq, -1, -1)
            self._lengths[seq] = 0
            raise RollbackImpossible(f"sequence {seq} holds {held} tokens instead of {n_tokens}")
        self._lengths[seq] = n_tokens

    def _window_reaches(self, seq: int, n_tokens: int) -> bool:
        """Whether the cache still has every cell to which the next token attends."""
        oldest: int = lib.llama_memory_seq_pos_min(self._memory, seq)
        return 0 <= oldest <= max(0, n_tokens - self.window + 1)

    def _save(self, seq: int, flags: int) -> bytes:
        handle = self._open()
        data = bytes(lib.llama_state_seq_get_size_ext(handle, seq, flags))  # filled in place: it may be large
        pointer = ctypes.cast(ctypes.c_char_p(data), ctypes.POINTER(ctypes.c_uint8))
        with self._watch:
            n_bytes = lib.llama_state_seq_get_data_ext(handle, pointer, len(data), seq, flags)
        if n_bytes != len(data):
            raise DecodeFailed(f"cannot read the state of sequence {seq}")
        return data

    def _restore(self, seq: int, data: bytes, flags: int) -> None:
        pointer = ctypes.cast(ctypes.c_char_p(data), ctypes.POINTER(ctypes.c_uint8))
        with self._watch:
            done = lib.llama_state_seq_set_data_ext(self._open(), pointer, len(data), seq, flags)
        if not done:
            raise RollbackImpossible(f"cannot restore the saved state of sequence {seq}")

    def _open(self) -> Any:
        if self._handle is None:
            raise ValueError("the context is closed")
        return self._handle

    def _check_sequence(self, seq: int) -> None:
        self._open()
        if not 0 <= seq < self.n_seq:
            raise ValueError(f"there is no sequence {seq}, only 0 to {self.n_seq - 1}")

    def _check_rollback(self, seq: int, n_tokens: int, snapshot: Snapshot | None) -> None:
        self._check_sequence(seq)
        if not 0 <= n_tokens <= self._lengths[seq]:
            raise ValueError(f"position {n_tokens} is beyond a sequence of {self._lengths[seq]} tokens")
        if snapshot is not None and snapshot.n_tokens != n_tokens:
            raise ValueError(f"the snapshot has {snapshot.n_tokens} tokens instead of {n_tokens}")
        if snapshot is None and not self.can_rollback(seq, n_tokens):
            raise RollbackImpossible(f"the window of sequence {seq} before {n_tokens} is gone")

    def _check(self, chunks: Sequence[Chunk]) -> int:
        """Raise ValueError if llama.cpp would abort on this batch; return its number of rows of logits."""
        sequences = {chunk.seq for chunk in chunks}
        if not chunks or len(sequences) != len(chunks):
            raise ValueError("a batch needs at least one chunk, and at most one per sequence")
        total = 0
        for chunk in chunks:
            self._check_sequence(chunk.seq)
            if chunk.seq in self._lost:
                raise ValueError(f"sequence {chunk.seq} has to be rolled back first")
            n = len(chunk.tokens)
            if not n or self._lengths[chunk.seq] + n > self.n_ctx_seq:
                held = self._lengths[chunk.seq]
                raise ValueError(f"cannot append {n} tokens to {held}: a sequence has up to {self.n_ctx_seq}")
            if not 0 < chunk.n_logits <= n:
                raise ValueError(f"{n} tokens cannot give {chunk.n_logits} rows of logits")
            if chunk.tokens.min() < 0 or chunk.tokens.max() >= self.n_vocab:
                raise ValueError(f"a token is outside the vocabulary of {self.n_vocab}")
            total += n
        if total > self.n_batch:
            raise ValueError(f"{total} tokens exceed a batch of {self.n_batch}")
        n_outputs = sum(chunk.n_rows for chunk in chunks)
        if n_outputs > self.n_rows:
            raise ValueError(f"{n_outputs} rows of logits exceed the {self.n_rows} of the context")
        return n_outputs


def _context_params(options: ContextOptions, n_threads: int, abort_flag: Any) -> Any:
    params = lib.llama_context_default_params()
    params.n_ctx = options.n_ctx if options.unified else options.n_ctx * options.n_seq
    params.n_seq_max = options.n_seq
    params.n_batch = options.n_batch
    params.n_ubatch = min(options.n_ubatch, options.n_batch)
    params.n_outputs_max = max(options.n_outputs, options.n_seq)  # not a row of logits per token
    params.n_threads = params.n_threads_batch = n_threads
    params.kv_unified = options.unified
    params.type_k = params.type_v = _KV_TYPES[options.kv_type]
    params.flash_attn_type = (
        lib.LLAMA_FLASH_ATTN_TYPE_AUTO if options.flash_attention else lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    params.swa_full = False
    params.no_perf = True
    params.abort_callback = _abort_callback()
    params.abort_callback_data = ctypes.cast(abort_flag, ctypes.c_void_p)
    return params


def create_context(model: LlamaModel, params: Any) -> Any:
    """A llama.cpp context with `params`, to be freed with `llama_free`. Raises MemoryShortage."""
    log = llama_log()
    log.clear()
    with worker_watch():
        handle = lib.llama_init_from_model(model.handle, params)
    if not handle:
        raise MemoryShortage(
            f"not enough memory for a context of {params.n_ctx:,} tokens: {log.reason()}",
            "Use a smaller --ctx or --parallel.",
        )
    return handle


@functools.cache
def _abort_callback() -> Any:
    """libc's strlen as llama.cpp's abort callback: true for "x", false for "".

    llama.cpp calls it after every node of the graph. A Python function would take the GIL thousands of times
    per token.
    """
    libc = ctypes.cdll.msvcrt if os.name == "nt" else ctypes.CDLL(None)
    return ctypes.cast(libc.strlen, lib.ggml_abort_callback)
