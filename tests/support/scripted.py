"""A runner that needs no model: the next token is a function of all tokens that its cache really holds.

So an engine that loses, repeats or mixes up tokens gives other answers than `expected_answer`.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from ossctl.engine.engine import Engine
from ossctl.engine.request import Generated, Output
from ossctl.runtime.base import (
    CacheFull,
    Chunk,
    DecodeAborted,
    DecodeFailed,
    Logits,
    RollbackImpossible,
    Snapshot,
)


def logits_after(tokens: Sequence[int], n_vocab: int) -> Logits:
    """A distribution that depends on every token and its place."""
    seed = int.from_bytes(blake2b(np.array(tokens, np.int32).tobytes(), digest_size=8).digest())
    return np.random.default_rng(seed).standard_normal(n_vocab, dtype=np.float32) * 3


def expected_answer(prompt: Sequence[int], n_tokens: int, n_vocab: int) -> list[int]:
    """What greedy decoding answers."""
    tokens = list(prompt)
    for _ in range(n_tokens):
        tokens.append(int(logits_after(tokens, n_vocab).argmax()))
    return tokens[len(prompt) :]


@dataclass
class ScriptedRunner:
    """Cells of (token, number), shared between sequences after a copy if `unified`."""

    n_vocab: int = 50
    n_seq: int = 4
    n_batch: int = 16
    n_ubatch: int = 16
    n_rows: int = 0  # 0: one per sequence
    n_ctx_seq: int = 64
    unified: bool = False
    n_cells: int = 0  # 0: enough for all
    window: int = 0
    recurrent: bool = False  # an aborted decode loses its sequences
    n_threads: int = 2
    decoded: list[list[Chunk]] = field(default_factory=list)
    broken_token: int = -1  # after this token there are no logits to draw from
    fail_next: bool = False
    abort_after: int | None = None  # tokens of the next decode, which then stops

    def __post_init__(self) -> None:
        self.n_cells = self.n_cells or self.n_seq * self.n_ctx_seq
        self.n_rows = self.n_rows or self.n_seq
        self._lost: set[int] = set()
        self._drafted = [0] * self.n_seq  # tokens of the latest decode, of which the window is still there
        self._held: list[list[tuple[int, int]]] = [[] for _ in range(self.n_seq)]
        self._numbers = itertools.count()

    @property
    def needs_snapshots(self) -> bool:
        return self.window > 0 or self.recurrent

    def tokens(self, seq: int) -> list[int]:
        return [token for token, _ in self._held[seq]]

    def decode(self, chunks: Sequence[Chunk]) -> Logits:
        assert 0 < sum(len(chunk.tokens) for chunk in chunks) <= self.n_batch
        assert sum(chunk.n_rows for chunk in chunks) <= self.n_rows
        assert len({chunk.seq for chunk in chunks}) == len(chunks)
        assert self._lost.isdisjoint(chunk.seq for chunk in chunks)
        if self.fail_next:
            self.fail_next = False
            raise DecodeFailed("scripted")
        used = {number for cells in self._held for _, number in cells}
        if len(used) + sum(len(chunk.tokens) for chunk in chunks) > self.n_cells:
            raise CacheFull
        if self.abort_after is not None:
            if self.recurrent:
                self.abort_after = None
                self._lost = {chunk.seq for chunk in chunks if self._held[chunk.seq]}
                raise DecodeAborted({chunk.seq: 0 for chunk in chunks})
            chunk, self.abort_after = Chunk(chunks[0].seq, chunks[0].tokens[: self.abort_after], False), None
            self.decode([chunk])
            raise DecodeAborted({chunk.seq: len(self._held[chunk.seq]) for chunk in chunks})
        self.decoded.append(list(chunks))
        rows = []
        for chunk in chunks:
            cells = self._held[chunk.seq]
            first_row = len(chunk.tokens) - chunk.n_rows
            for place, token in enumerate(chunk.tokens):
                cells.append((int(token), next(self._numbers)))
                if place >= first_row:
                    rows.append(self._row(chunk.seq))
            assert len(cells) <= self.n_ctx_seq
            self._drafted[chunk.seq] = chunk.n_rows
        return np.array(rows, np.float32).reshape(len(rows), self.n_vocab)

    def _row(self, seq: int) -> Logits:
        tokens = self.tokens(seq)
        if tokens[-1] == self.broken_token:
            return np.full(self.n_vocab, np.nan, np.float32)
        return logits_after(tokens, self.n_vocab)

    def snapshot(self, seq: int) -> Snapshot:
        return Snapshot(len(self._held[seq]), repr(self.tokens(seq)).encode())

    def can_rollback(self, seq: int, n_tokens: int) -> bool:
        length = len(self._held[seq])
        if n_tokens == 0 or not self.needs_snapshots:
            return True
        if n_tokens == length:
            return seq not in self._lost
        return not self.recurrent and (length <= self.window or length - n_tokens <= self._drafted[seq])

    def rollback(self, seq: int, n_tokens: int, snapshot: Snapshot | None = None) -> None:
        assert 0 <= n_tokens <= len(self._held[seq])
        self._check(seq, n_tokens, snapshot)
        del self._held[seq][n_tokens:]
        self._lost.discard(seq)

    def copy(self, source: int, target: int, n_tokens: int, snapshot: Snapshot | None = None) -> None:
        assert source != target
        self._check(source, n_tokens, snapshot)
        cells = self._held[source][:n_tokens]
        self._held[target] = (
            list(cells) if self.unified else [(token, next(self._numbers)) for token, _ in cells]
        )

    def save(self, seq: int) -> bytes:
        return json.dumps(self.tokens(seq)).encode()

    def load(self, seq: int, n_tokens: int, state: bytes) -> None:
        tokens = json.loads(state)
        assert len(tokens) == n_tokens
        self._held[seq] = [(token, next(self._numbers)) for token in tokens]

    def abort(self) -> None:
        self.fail_next = True

    def resume(self) -> None:
        self.fail_next = False

    def _check(self, seq: int, n_tokens: int, snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            wanted = repr(self.tokens(seq)[:n_tokens]).encode()
            assert snapshot.data == wanted, "a snapshot of another prefix"
        elif not self.can_rollback(seq, n_tokens):
            raise RollbackImpossible


def run(engine: Engine) -> dict[str, list[Output]]:
    """Step until all is answered; outputs by request."""
    outputs: dict[str, list[Output]] = {}
    for _ in range(100_000):
        if not engine.busy:
            return outputs
        for output in engine.step():
            outputs.setdefault(output.id, []).append(output)
    raise AssertionError("the engine does not come to an end")


def tokens_of(outputs: list[Output]) -> list[int]:
    return [output.token for output in outputs if isinstance(output, Generated)]
