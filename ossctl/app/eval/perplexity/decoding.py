"""Decodes chunks of a text and hands their logits to a measure."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from ossctl.app.eval.perplexity.measures import Measure
from ossctl.runtime.base import Chunk, DecodeAborted, Logits, Runner, Tokens


def first_row(n_ctx: int) -> int:
    """The position from which tokens are scored: each has at least half of a chunk before it."""
    return n_ctx // 2


def rows_per_chunk(n_ctx: int) -> int:
    """How many tokens of a chunk are scored."""
    return n_ctx - 1 - first_row(n_ctx)


class ChunkDecoder:
    """Decodes chunks of `n_ctx` tokens, as many at once as a ubatch holds, or a longer one in parts."""

    def __init__(self, runner: Runner, n_ctx: int) -> None:
        self._runner, self._n_ctx = runner, n_ctx
        self._group = max(1, min(runner.n_seq, runner.n_ubatch // n_ctx))

    def run(self, chunks: Iterable[Tokens], measure: Measure) -> Iterator[int]:
        """Measure the chunks; yields how many are complete after each group of them.

        Ends early if the runner is aborted. Raises DecodeFailed, and what the measure raises.
        """
        waiting = iter(chunks)
        n_done = 0
        while group := [*islice(waiting, self._group)]:
            try:
                self._measure(group, measure)
            except DecodeAborted:
                return
            n_done += len(group)
            yield n_done

    def _measure(self, group: Sequence[Tokens], measure: Measure) -> None:
        first, step = first_row(self._n_ctx), self._runner.n_ubatch
        if self._n_ctx > step:
            for tokens in group:
                for start in range(0, self._n_ctx, step):
                    self._add(tokens, start, self._decode([tokens[start : start + step]], start), measure)
                measure.end_chunk(tokens)
        else:
            logits = self._decode(group, 0)
            n_rows = self._n_ctx - first
            for number, tokens in enumerate(group):
                self._add(tokens, 0, logits[number * n_rows : (number + 1) * n_rows], measure)
                measure.end_chunk(tokens)
        for seq in range(len(group)):
            self._runner.rollback(seq, 0)

    def _decode(self, group: Sequence[Tokens], start: int) -> Logits:
        """The logits from `first_row` on of tokens that start at the position `start` of their chunks."""
        n_logits = min(len(group[0]), start + len(group[0]) - first_row(self._n_ctx))
        return self._runner.decode(
            [
                Chunk(seq, tokens, wants_logits=n_logits > 0, n_logits=max(1, n_logits))
                for seq, tokens in enumerate(group)
            ]
        )

    def _add(self, tokens: Tokens, start: int, logits: Logits, measure: Measure) -> None:
        """Leave out the last token of a chunk, which nothing follows."""
        at = max(start, first_row(self._n_ctx)) + 1
        targets = tokens[at : at + len(logits)]
        if len(targets):
            measure.add(logits[: len(targets)], targets)
