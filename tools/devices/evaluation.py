"""The same tokens through a model wherever it is placed: eight sequences together, then one alone.

The first prompt is longer than gpt-oss's window of 128. Prompts, several tokens at once and single tokens
take different kernels on a GPU.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ossctl.runtime.base import Chunk, Logits, Runner, Tokens

N_SEQ, CTX = 8, 256
_LENGTHS = (160, 40, 24, 8, 8, 8, 8, 8)  # tokens of the prompts
_TOGETHER, _ALONE = 8, 16  # steps of all sequences, and of the first

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Evaluation:
    """`logits` float32 [rows, n_vocab], and `tokens` int32 [rows], the likeliest that the reference found."""

    logits: Rows
    tokens: Tokens

    @classmethod
    def read(cls, path: Path) -> "Evaluation":
        """Of a file that `write` has written."""
        with np.load(path) as arrays:
            return cls(arrays["logits"], arrays["tokens"])

    def write(self, path: Path) -> None:
        np.savez(path, logits=self.logits, tokens=self.tokens)


def evaluate(runner: Runner, forced: Tokens | None = None) -> Evaluation:
    """Logits behind fixed prompts and the tokens that follow: `forced` [rows], or the likeliest ones."""
    run = _Run(runner, forced)
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, runner.n_vocab, length).astype(np.int32) for length in _LENGTHS]
    run.decode([Chunk(seq, prompt, wants_logits=True) for seq, prompt in enumerate(prompts)])
    for _ in range(_TOGETHER):
        run.decode([Chunk(seq, run.last(seq), wants_logits=True) for seq in range(N_SEQ)])
    for _ in range(_ALONE):
        run.decode([Chunk(0, run.last(0), wants_logits=True)])
    return Evaluation(np.concatenate(run.rows), np.array(run.tokens, np.int32))


def shares(expected: Evaluation, found: Evaluation) -> Rows:
    """The largest difference of two logits in each row, as a share of the row's spread."""
    spread: Rows = np.ptp(expected.logits, axis=1)
    largest: Rows = np.abs(expected.logits - found.logits).max(axis=1)
    spread[spread == 0] = 1
    return largest / spread


class _Run:
    def __init__(self, runner: Runner, forced: Tokens | None) -> None:
        self._runner = runner
        self._forced = forced
        self._last: dict[int, int] = {}
        self.rows: list[Logits] = []
        self.tokens: list[int] = []

    def decode(self, chunks: list[Chunk]) -> None:
        logits = self._runner.decode(chunks).copy()
        self.rows.append(logits)
        start = len(self.tokens)
        self.tokens += [int(row.argmax()) for row in logits]
        chosen = self.tokens if self._forced is None else self._forced
        self._last |= {chunk.seq: int(chosen[start + n]) for n, chunk in enumerate(chunks)}

    def last(self, seq: int) -> Tokens:
        return np.array([self._last[seq]], np.int32)
