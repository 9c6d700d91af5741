"""`llama_decode` with nothing around it: the speed of llama.cpp itself, in a context of ours."""

from collections.abc import Sequence

import numpy as np

from ossctl.runtime.base import Chunk, DecodeAborted, DecodeFailed, Tokens
from ossctl.runtime.batch import LlamaBatch
from ossctl.runtime.bindings import lib
from ossctl.runtime.context import LlamaRunner

_ABORTED = 2  # llama_decode's return code, include/llama.h


class BareDecoder:
    """Decodes given tokens in the context of `runner`, which must not be used between `prefill` and `clear`.

    Both methods raise DecodeFailed, DecodeAborted, and return when the logits are in RAM.
    """

    def __init__(self, runner: LlamaRunner) -> None:
        self._runner = runner
        self._batch = LlamaBatch(runner.n_batch)
        self._memory = lib.llama_get_memory(runner.handle)

    def prefill(self, prompts: Sequence[Tokens]) -> None:
        """Decode a prompt in each of the first sequences, all of the same length."""
        n_batch, n_tokens = self._runner.n_batch, len(prompts[0])
        together = max(1, n_batch // n_tokens)
        for first in range(0, len(prompts), together):
            group = [*enumerate(prompts)][first : first + together]
            for at in range(0, n_tokens, n_batch):
                chunks = [
                    Chunk(seq, prompt[at : at + n_batch], at + n_batch >= n_tokens) for seq, prompt in group
                ]
                self._batch.fill(chunks, [at] * len(prompts))
                self._decode()

    def generate(self, tokens: Tokens, n_past: int) -> None:
        """Decode int32 [n, n_seq], a row per step, behind `n_past` tokens in each of the first sequences."""
        first, *rest = tokens
        chunks = [
            Chunk(seq, np.array([token], np.int32), wants_logits=True) for seq, token in enumerate(first)
        ]
        self._batch.fill(chunks, [n_past] * len(chunks))
        self._decode()
        for row in rest:
            self._batch.advance(row)
            self._decode()

    def clear(self) -> None:
        """Empty the cache."""
        lib.llama_memory_clear(self._memory, False)

    def _decode(self) -> None:
        code = lib.llama_decode(self._runner.handle, self._batch.struct)
        if code == _ABORTED:
            raise DecodeAborted({})
        if code != 0:
            raise DecodeFailed(f"llama_decode returned {code}")
        lib.llama_get_logits(self._runner.handle)  # waits for the device
