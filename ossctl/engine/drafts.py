"""Speculative decoding: which draft tokens are decoded together with those that they follow."""

import heapq
import math
import statistics
from collections import deque
from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ossctl.engine.isolation import Batch
from ossctl.engine.lookup import PromptLookup
from ossctl.runtime.base import Chunk, Logits, Runner

if TYPE_CHECKING:
    from ossctl.engine.sequence import Sequence

# Seconds of decoding 1, 2, 4, 8, 16 and 32 tokens at once, relative to one, on two cores without a GPU:
# of SmolLM2, and of the shape of gpt-oss-20b, where other tokens need other experts.
_SIZES = (1, 2, 4, 8, 16, 32)
DENSE = (1.0, 1.52, 1.80, 2.41, 3.43, 7.01)
MIXTURE = (1.0, 1.57, 2.49, 4.63, 8.49, 16.0)

_MIN_GAIN = 1.05  # expected tokens per second, relative to those without drafts
_MEASURED = 16  # decodes
_FORGOTTEN = 2000  # decodes without drafts, after which what was measured may no longer hold
_CERTAIN = 0.999  # the probability of a token that the guide forces


@dataclass(frozen=True)
class DraftOptions:
    """Drafts of up to `max_tokens` per sequence, or if `fixed`, of exactly as many wherever there is a match.

    `costs` are the relative seconds of decodes of _SIZES tokens, as far as they are known in advance.
    """

    max_tokens: int = 15
    fixed: bool = False
    costs: tuple[float, ...] = DENSE


class DecodeCosts:
    """What a decode of n tokens takes, relative to one token.

    The shape of the curve is given. How steep it is here is measured, and rounded to a power of two, so that
    the same requests get the same drafts although no two measurements are equal. A busy machine may make it
    so steep that nothing is drafted; after a while without drafts, it is measured anew.
    """

    def __init__(self, costs: tuple[float, ...]) -> None:
        self._curve = np.interp(np.arange(_SIZES[-1] + 1), _SIZES, costs).tolist()
        self._plain: dict[int, float] = {}  # seconds of the latest decode without drafts, by its tokens
        self._slopes: deque[float] = deque(maxlen=_MEASURED)
        self._slope = 1.0
        self._n_plain = 0  # decodes since the latest draft

    def __call__(self, n_tokens: int) -> float:
        """The relative cost of `n_tokens`, infinite beyond the curve."""
        if n_tokens >= len(self._curve):
            return math.inf
        return 1 + (self._curve[n_tokens] - 1) * self._slope

    def measure(self, n_tokens: int, n_drafted: int, seconds: float) -> None:
        """Count a decode of `n_tokens`, of which `n_drafted` are a draft."""
        if not n_drafted:
            self._plain[n_tokens] = seconds
            self._n_plain += 1
            if self._n_plain == _FORGOTTEN:
                self._slope = 1.0
                self._slopes.clear()
            return
        self._n_plain = 0
        plain = self._plain.get(n_tokens - n_drafted)
        if plain is None or n_tokens >= len(self._curve):
            return
        ratio = seconds / plain
        before, after = self._curve[n_tokens - n_drafted], self._curve[n_tokens]
        # solve (1 + after' * slope) / (1 + before' * slope) = ratio
        steepness = (after - 1) - ratio * (before - 1)
        self._slopes.append(max(ratio - 1, 0.0) / steepness if steepness > 0 else self._slope)
        if len(self._slopes) == _MEASURED:
            exponent = math.log2(max(statistics.median(self._slopes), 1 / 16))
            self._slope = 2.0 ** round(exponent)


class Drafter:
    """Adds drafts to the chunks of a batch, where that is expected to pay.

    Some kernels sum in another order for several tokens than for one, which would change answers. So the
    logits of the first draft of each size are only compared with those of the same tokens, decoded one by one
    in the following steps. After a difference, no decode gets as large again.
    """

    def __init__(self, runner: Runner, options: DraftOptions) -> None:
        self._runner = runner
        self._options = options
        self._largest = math.inf  # tokens of a decode that has shown no difference
        self._proven: set[_Kind] = set()
        self._proofs: list[_Proof] = []
        self._proving: _Kind = (0, 0, 0)
        self._n_compared = 0
        self.costs = DecodeCosts(options.costs)

    def extend(self, batch: Batch) -> Batch:
        """`batch` with drafts behind the tokens of sequences that are generating."""
        if self._is_proving():
            return batch
        n_tokens = sum(len(chunk.tokens) for _, chunk in batch)
        n_rows = sum(chunk.n_rows for _, chunk in batch)
        free = int(min(self._runner.n_rows - n_rows, min(self._runner.n_ubatch, self._largest) - n_tokens))
        if free <= 0 or math.isinf(self.costs(n_tokens + 1)):
            return batch
        drafts = [_draft(sequence, self._limit(sequence, chunk, free)) for sequence, chunk in batch]
        if self._options.fixed:
            lengths = _as_many_as_fit(drafts, free)
        else:
            lengths = self._lengths(drafts, [chunk for _, chunk in batch], free)
        extended = [
            (sequence, _extended(chunk, draft.tokens[:length]))
            for (sequence, chunk), draft, length in zip(batch, drafts, lengths, strict=True)
        ]
        return extended if self._can_draft(extended) else batch

    def needs_proof(self, batch: Batch) -> bool:
        """Whether it is not known that the logits of `batch` are those of each token by itself."""
        drafted = any(chunk.n_drafted for _, chunk in batch)
        return drafted and not self._options.fixed and _kind(batch) not in self._proven

    def begin_proof(self, batch: Batch, logits: Logits) -> None:
        """Keep the logits of `batch`, until its tokens have been decoded one by one or others are sampled.

        The decode has to be taken back.
        """
        self._proving, self._n_compared = _kind(batch), 0
        for sequence, chunk, rows in _with_rows(batch, logits.copy()):
            self._proofs.append(_Proof(sequence, sequence.num_tokens, _drafted(chunk), rows))

    def compare(self, batch: Batch, logits: Logits) -> None:
        """Compare the logits of a decode without drafts with those that are kept."""
        if not self._proofs:
            return
        single = (each for each in _with_rows(batch, logits) if len(each[1].tokens) == 1)
        rows = {sequence: rows for sequence, _, rows in single}
        self._proofs = [proof for proof in self._proofs if proof.continues and proof.sequence in rows]
        if not all(proof.agrees(rows[proof.sequence][0]) for proof in self._proofs):
            self._largest, self._proofs = self._proving[1] - 1, []
        self._n_compared += len(self._proofs)

    def _is_proving(self) -> bool:
        """Whether logits are still being compared. One row alone proves nothing."""
        self._proofs = [proof for proof in self._proofs if proof.continues]
        if not self._proofs and self._n_compared > 1:
            self._proven.add(self._proving)
        return bool(self._proofs)

    def _can_draft(self, batch: Batch) -> bool:
        """Whether a proof of `batch`, if it needs one, can take its decode back."""
        return not self.needs_proof(batch) or all(chunk.n_rows == len(chunk.tokens) for _, chunk in batch)

    def _limit(self, sequence: "Sequence", chunk: Chunk, free: int) -> int:
        """How many draft tokens can be of use: not beyond the context, nor beyond the answer's limit."""
        if not chunk.wants_logits or sequence.num_computed_tokens < len(sequence.prompt):
            return 0
        context = self._runner.n_ctx_seq - sequence.num_tokens
        answer = sequence.max_tokens - sequence.num_generated_tokens - 1
        return max(0, min(self._options.max_tokens, free, context, answer))

    def _lengths(self, drafts: Items["_Draft"], chunks: Items[Chunk], free: int) -> list[int]:
        """The lengths with the most expected tokens per second: the most likely tokens come first."""
        lengths, best = [0] * len(drafts), [0] * len(drafts)
        expected = float(len(drafts))
        highest = _MIN_GAIN * expected / self._cost(chunks, lengths)
        likeliest = [(-draft.rate, n) for n, draft in enumerate(drafts) if draft.tokens]
        heapq.heapify(likeliest)
        while likeliest and sum(lengths) < free:
            probability, n = heapq.heappop(likeliest)
            expected -= probability
            lengths[n] += 1
            if lengths[n] < len(drafts[n].tokens):
                heapq.heappush(likeliest, (probability * drafts[n].rate, n))
            per_second = expected / self._cost(chunks, lengths)
            if per_second > highest and len(drafts) + sum(lengths) in _SIZES:
                highest, best = per_second, lengths.copy()
        return best

    def _cost(self, chunks: Items[Chunk], drafted: Items[int]) -> float:
        """The cost of a decode with these numbers of draft tokens.

        Sequences with cells of their own need ubatches with equally many tokens of each.
        """
        n_tokens = [len(chunk.tokens) + more for chunk, more in zip(chunks, drafted, strict=True)]
        if self._runner.unified:
            return self.costs(sum(n_tokens))
        cost, done = 0.0, 0
        for length in sorted(set(n_tokens)):
            cost += self.costs((length - done) * sum(n >= length for n in n_tokens))
            done = length
        return cost


_Kind = tuple[int, int, int]


def _kind(batch: Batch) -> _Kind:
    """What kernels depend on: the number of sequences and tokens, and the size of the longest context."""
    longest = max(sequence.num_computed_tokens for sequence, _ in batch)
    return len(batch), sum(len(chunk.tokens) for _, chunk in batch), longest.bit_length()


@dataclass(frozen=True)
class _Proof:
    """The logits of a sequence behind its first `start` tokens and each draft token, float32 [n, n_vocab]."""

    sequence: "Sequence"
    start: int
    draft: list[int]
    rows: Logits

    @property
    def continues(self) -> bool:
        """Whether the sequence runs, and has generated nothing but its draft since."""
        if self.sequence.slot is None:
            return False
        generated = self.sequence.tokens()[self.start :].tolist()
        return len(generated) < len(self.rows) and generated == self.draft[: len(generated)]

    def agrees(self, row: Logits) -> bool:
        """Whether `row` behind the latest token is the same, bit for bit."""
        return np.array_equal(self.rows[self.sequence.num_tokens - self.start], row)


@dataclass(frozen=True, slots=True)
class _Draft:
    """Tokens that may come next, each with the probability `rate` if those before it come."""

    tokens: list[int]
    rate: float


def _draft(sequence: "Sequence", limit: int) -> _Draft:
    if limit <= 0:
        return _Draft([], 0.0)
    if forced := sequence.forced_with_logits():
        return _Draft(list(forced)[:limit], _CERTAIN)
    if sequence.lookup is None:
        sequence.lookup = PromptLookup(sequence.tokens())
    return _Draft(sequence.lookup.draft(limit), sequence.lookup.hit_rate)


def _as_many_as_fit(drafts: Items[_Draft], free: int) -> list[int]:
    lengths = []
    for draft in drafts:
        lengths.append(min(len(draft.tokens), free))
        free -= lengths[-1]
    return lengths


def _extended(chunk: Chunk, draft: list[int]) -> Chunk:
    if not draft:
        return chunk
    tokens = np.concatenate([chunk.tokens, np.array(draft, np.int32)])
    return replace(chunk, tokens=tokens, n_logits=1 + len(draft))


class Verification:
    """The rows of logits of a chunk, and how many of its draft tokens are accepted so far.

    `logits` float32 [n, n_vocab] are those after the last token before the draft and after each of the draft.
    """

    def __init__(self, sequence: "Sequence", chunk: Chunk, logits: Logits) -> None:
        self.sequence = sequence
        self.slot = sequence.assigned_slot
        self.n_drafted = chunk.n_drafted
        self.n_accepted = 0
        self.n_computed = sequence.num_computed_tokens  # without the draft
        self._logits = logits
        self._draft = _drafted(chunk)
        self.continues = True  # `row` follows the latest token
        sequence.num_drafted += chunk.n_drafted

    @property
    def row(self) -> Logits:
        """The logits of the next token, float32 [n_vocab]."""
        logits: Logits = self._logits[self.n_accepted]
        return logits

    def compare(self, token: int) -> None:
        """Compare the next draft token with `token`, the latest of the sequence."""
        at, sequence = self.n_accepted, self.sequence
        accepted = at < len(self._draft) and self._draft[at] == token
        self.continues = self.continues and accepted and sequence.finish is None
        if self.continues:
            self.n_accepted += 1
            sequence.num_accepted += 1
            sequence.num_computed_tokens += 1


def verifications(batch: Batch, logits: Logits) -> list[Verification]:
    """Those of the chunks that want logits, in order."""
    return [Verification(sequence, chunk, rows) for sequence, chunk, rows in _with_rows(batch, logits)]


def _with_rows(batch: Batch, logits: Logits) -> Iterator[tuple["Sequence", Chunk, Logits]]:
    """The chunks that want logits, each with its rows."""
    start = 0
    for sequence, chunk in batch:
        if chunk.wants_logits:
            yield sequence, chunk, logits[start : start + chunk.n_rows]
            start += chunk.n_rows


def _drafted(chunk: Chunk) -> list[int]:
    draft: list[int] = chunk.tokens[len(chunk.tokens) - chunk.n_drafted :].tolist()
    return draft


def without_drafts(batch: Batch) -> Batch:
    """`batch` without its drafts."""
    return [
        (sequence, replace(chunk, tokens=chunk.tokens[: len(chunk.tokens) - chunk.n_drafted], n_logits=1))
        for sequence, chunk in batch
    ]
