"""The interface between the engine and a model that decodes. llama.cpp is one implementation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]
Logits = npt.NDArray[np.float32]


class CacheFull(Exception):
    """The KV cache has no space for the batch. Nothing has changed, so free cells and try again."""


class DecodeFailed(Exception):
    """The batch was not decoded. The content of its sequences is undefined until they are cleared."""


class DecodeAborted(DecodeFailed):
    """`Runner.abort` stopped the decode.

    `lengths` is the number of tokens that each sequence of the batch holds now. Decoding can continue there.
    If it is 0 and the sequence held some before, its recurrent state is lost: it needs a rollback first, with
    a snapshot or to 0.
    """

    def __init__(self, lengths: Mapping[int, int]) -> None:
        super().__init__("stopped")
        self.lengths = lengths


class RollbackImpossible(Exception):
    """A sequence cannot return to that position, because cells of its window have been overwritten."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive tokens of one sequence in one batch.

    `tokens`, int32 [n], are appended to what the sequence holds. `wants_logits` asks for the logits after the
    last of them, or after each of the last `n_logits`.
    """

    seq: int
    tokens: Tokens
    wants_logits: bool
    n_logits: int = 1

    @property
    def n_rows(self) -> int:
        """Rows of logits that it asks for."""
        return self.n_logits if self.wants_logits else 0

    @property
    def n_drafted(self) -> int:
        """How many of its last tokens are a draft, in an engine that drafts."""
        return self.n_logits - 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state besides the cells that a rollback to `n_tokens` needs; `data` is empty without a window.

    It belongs to a prefix, not to a sequence: any sequence that starts with the same tokens can use it.
    """

    n_tokens: int
    data: bytes


class Runner(Protocol):
    """A loaded model with a KV cache of `n_seq` sequences, numbered from 0."""

    @property
    def n_vocab(self) -> int:
        """Size of the vocabulary, and of a row of logits."""

    @property
    def n_seq(self) -> int:
        """Maximum number of sequences."""

    @property
    def n_batch(self) -> int:
        """Maximum tokens per decode, at least `n_seq`."""

    @property
    def n_ubatch(self) -> int:
        """Maximum tokens per ubatch; larger decodes are split into several."""

    @property
    def unified(self) -> bool:
        """Whether all sequences share cells. If not, a ubatch has as many tokens of each of its sequences."""

    @property
    def recurrent(self) -> bool:
        """Whether sequences have states, which cannot lose their latest tokens."""

    @property
    def n_ctx_seq(self) -> int:
        """Maximum tokens per sequence."""

    @property
    def n_cells(self) -> int:
        """Maximum tokens of all sequences together, less than n_seq * n_ctx_seq if they share cells."""

    @property
    def n_rows(self) -> int:
        """Maximum rows of logits per decode, at least `n_seq`; the others are for drafts."""

    @property
    def n_threads(self) -> int:
        """CPU threads of a decode, idle between decodes."""

    @property
    def needs_snapshots(self) -> bool:
        """Whether an exact rollback needs a snapshot, as with sliding windows and recurrent states."""

    def decode(self, chunks: Sequence[Chunk]) -> Logits:
        """Decode the chunks, at most one per sequence.

        Returns float32 [number of chunks that want logits, n_vocab] in the order of the chunks, valid until
        the next decode; `n_logits` rows of each chunk. Raises CacheFull, DecodeFailed, DecodeAborted,
        ValueError.
        """

    def snapshot(self, seq: int) -> Snapshot:
        """The state that `rollback` and `copy` need to return to the present length of `seq`."""

    def can_rollback(self, seq: int, n_tokens: int) -> bool:
        """Whether `rollback` to `n_tokens`, which `seq` must hold, is exact without a snapshot."""

    def rollback(self, seq: int, n_tokens: int, snapshot: Snapshot | None = None) -> None:
        """Remove all but the first `n_tokens` tokens of `seq`. Raises RollbackImpossible."""

    def copy(self, source: int, target: int, n_tokens: int, snapshot: Snapshot | None = None) -> None:
        """Replace `target` by the first `n_tokens` tokens of `source`. Raises RollbackImpossible."""

    def save(self, seq: int) -> bytes:
        """The state of `seq`, to be stored outside the cache."""

    def load(self, seq: int, n_tokens: int, state: bytes) -> None:
        """Replace `seq` by the saved state of `n_tokens` tokens. Raises RollbackImpossible."""

    def abort(self) -> None:
        """Abort the running decode and all later ones until `resume`. May be called from any thread."""

    def resume(self) -> None:
        """Allow decodes again after `abort`."""
