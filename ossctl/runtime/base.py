"""What the engine needs of a model that can decode. llama.cpp is one implementation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]
Logits = npt.NDArray[np.float32]


class CacheFull(Exception):
    """The KV cache has no room for the batch. Nothing has changed: free something and try again."""


class DecodeFailed(Exception):
    """The batch was not decoded. What its sequences hold is undefined until they are cleared."""


class DecodeAborted(DecodeFailed):
    """`Runner.abort` stopped the decode. `lengths` is how many tokens each sequence of the batch holds now;
    they can be gone on from."""

    def __init__(self, lengths: Mapping[int, int]) -> None:
        super().__init__("stopped")
        self.lengths = lengths


class RollbackImpossible(Exception):
    """A sequence cannot go back to that position: the cells of its window are gone."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive tokens of one sequence in one batch.

    `tokens` int32 [n] go to the positions right after what the sequence holds. `wants_logits` asks for
    the logits after the last of them.
    """

    seq: int
    tokens: Tokens
    wants_logits: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a rollback to `n_tokens` needs besides the cells themselves; `data` is empty without a window.

    It belongs to a prefix, not to a sequence: every sequence that holds the same first tokens can use it.
    """

    n_tokens: int
    data: bytes


class Runner(Protocol):
    """A loaded model with a KV cache of `n_seq` sequences, numbered from 0."""

    @property
    def n_vocab(self) -> int:
        """Entries of the vocabulary, the width of a row of logits."""

    @property
    def n_seq(self) -> int:
        """Sequences that can be held at once."""

    @property
    def n_batch(self) -> int:
        """Tokens that one decode takes at the most; at least n_seq."""

    @property
    def n_ubatch(self) -> int:
        """Tokens that are computed at once; a larger decode is cut into pieces of so many."""

    @property
    def n_ctx_seq(self) -> int:
        """Tokens that one sequence can hold at the most."""

    @property
    def n_cells(self) -> int:
        """Tokens that all sequences together can hold; less than n_seq * n_ctx_seq where they share."""

    @property
    def n_threads(self) -> int:
        """CPU threads that a decode uses, and that are idle between two of them."""

    @property
    def needs_snapshots(self) -> bool:
        """Whether a rollback is exact with a snapshot only (sliding windows)."""

    def decode(self, chunks: Sequence[Chunk]) -> Logits:
        """Compute the chunks; at most one a sequence.

        Returns float32 [number of chunks that want logits, n_vocab] in the order of the chunks, valid
        until the next decode. Raises CacheFull, DecodeFailed, DecodeAborted, ValueError.
        """

    def snapshot(self, seq: int) -> Snapshot:
        """What `rollback` and `copy` need to come back to where `seq` is now."""

    def can_rollback(self, seq: int, n_tokens: int) -> bool:
        """Whether `rollback` to `n_tokens`, not beyond what `seq` holds, is exact without a snapshot."""

    def rollback(self, seq: int, n_tokens: int, snapshot: Snapshot | None = None) -> None:
        """Forget all but the first `n_tokens` tokens of `seq`. Raises RollbackImpossible."""

    def copy(self, source: int, target: int, n_tokens: int, snapshot: Snapshot | None = None) -> None:
        """Make `target` hold the first `n_tokens` tokens of `source`. Raises RollbackImpossible."""

    def save(self, seq: int) -> bytes:
        """All that `seq` holds, to be kept outside of the cache."""

    def load(self, seq: int, n_tokens: int, state: bytes) -> None:
        """Make `seq` hold what was saved of `n_tokens` tokens. Raises RollbackImpossible."""

    def abort(self) -> None:
        """Stop the running decode, from any thread. Every later one stops as well, until `resume`."""

    def resume(self) -> None:
        """Decode again after an `abort`."""
