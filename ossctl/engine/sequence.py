"""A request on its way through the engine, and the slots that hold tokens in the cache."""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from ossctl.engine.history import history_of
from ossctl.engine.lookup import PromptLookup
from ossctl.engine.prefix_disk import DiskPrefix
from ossctl.engine.repetition import RepetitionDetector
from ossctl.engine.request import FinishReason, Request
from ossctl.runtime.base import Chunk, Snapshot, Tokens

SHARE_MIN = 16  # tokens; a shorter common prefix costs more to find than to compute

_SNAPSHOTS_MIN = 4  # per slot; one of gpt-oss takes 3 to 4.5 MiB
_SNAPSHOTS_TOTAL = 32  # of all slots, where that gives each more
_SNAPSHOT_BYTES = 1 << 30  # of all slots, where that gives each less: one of Qwen3-Next-80B takes 75 MiB
_SNAPSHOTS_LEAST = 2  # per slot, however large: of the latest two turns

_EMPTY: Tokens = np.empty(0, np.int32)


@dataclass
class Slot:
    """A sequence of the runner and what its cells hold, even after its request has ended.

    `resident` int32 [n] are the tokens of an ended request, whose cells can be reused. `snapshots` are of
    prefixes, by length. The first `num_shared_tokens` have been shared with another request.
    """

    seq: int
    resident: Tokens = field(default_factory=lambda: _EMPTY)
    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    max_snapshots: int = _SNAPSHOTS_MIN
    max_snapshot_bytes: int = _SNAPSHOT_BYTES
    owner: "Sequence | None" = None
    conversation: str = ""  # of its latest request
    last_used: int = 0
    num_shared_tokens: int = 0
    unsaved_seconds: float = 0.0  # that computing took, of what is not on disk
    num_saved_tokens: int = 0  # on disk
    persist: bool = False  # whether to write it to disk

    @classmethod
    def of(cls, n_slots: int) -> list["Slot"]:
        """Empty slots for all sequences of a runner."""
        max_snapshots = max(_SNAPSHOTS_MIN, _SNAPSHOTS_TOTAL // n_slots)
        max_bytes = _SNAPSHOT_BYTES // n_slots
        return [cls(seq, max_snapshots=max_snapshots, max_snapshot_bytes=max_bytes) for seq in range(n_slots)]

    def computed_tokens(self) -> Tokens:
        """The tokens in its cells, int32 [n]; of a running sequence, those of its prompt."""
        return self.resident if self.owner is None else self.owner.prompt[: self.owner.num_computed_tokens]

    def truncate(self, n_tokens: int) -> None:
        """Forget all but the first `n_tokens` tokens."""
        self.resident = self.resident[:n_tokens]
        self.num_shared_tokens = min(self.num_shared_tokens, n_tokens)
        self.num_saved_tokens = min(self.num_saved_tokens, n_tokens)
        if not n_tokens:
            self.unsaved_seconds = 0.0
        self.snapshots = {n: snapshot for n, snapshot in self.snapshots.items() if n <= n_tokens}

    def add_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot. Beyond the slot's limits, drop others, so that older ones get sparser."""
        self.snapshots[snapshot.n_tokens] = snapshot
        by_size = self.max_snapshot_bytes // max(1, len(snapshot.data))
        limit = max(_SNAPSHOTS_LEAST, min(self.max_snapshots, by_size))
        while len(self.snapshots) > limit:
            self._drop_snapshot()

    def _drop_snapshot(self) -> None:
        """Drop the one whose loss would cost least, never the last."""
        lengths = [0, *sorted(self.snapshots)]

        def loss(index: int) -> float:
            """The gap between its neighbours, relative to the tokens after it."""
            return (lengths[index + 1] - lengths[index - 1]) / (lengths[-1] - lengths[index])

        del self.snapshots[lengths[min(range(1, len(lengths) - 1), key=loss)]]


class Sequence:
    """The state of a request: `prompt` is prefilled, `tail` are the tokens generated since.

    `max_length` bounds the two together.
    """

    def __init__(self, request: Request, max_length: int) -> None:
        self.request = request
        self.prompt = request.prompt
        self.tail: list[int] = []
        self.slot: Slot | None = None
        self.num_computed_tokens = 0  # in the cache
        self.num_generated_tokens = 0
        self.num_cached_tokens = 0  # of the request's prompt, found in the cache at its first admission
        self.num_shared_tokens = 0  # of those computed, copied from another slot
        self.preempted = False
        self.times_bypassed = 0  # by requests that were admitted because this one did not fit yet
        self.admitted_at = 0.0  # perf_counter at its first admission
        # prompt lengths at which the prefill pauses, to take a snapshot or to let others copy the prefix
        self.boundaries = {len(request.prompt)} if self.has_checkpoint else set[int]()
        self.boundaries.update(request.shared_lengths)
        self.on_disk: DiskPrefix | None = None
        self.searched_disk = False
        self.max_tokens = min(request.max_tokens, max_length - len(request.prompt))
        self.finish: FinishReason | None = None
        self.lookup: PromptLookup | None = None  # for drafts
        self.num_drafted = self.num_accepted = 0  # draft tokens decoded, and those accepted
        self.history = history_of(request)
        self._repetition = RepetitionDetector()
        self._random = np.random.Generator(np.random.Philox(request.sampling.seed))

    @property
    def assigned_slot(self) -> Slot:
        """The slot of a running sequence. Raises ValueError if it is waiting."""
        if self.slot is None:
            raise ValueError(f"request {self.request.id} is not running")
        return self.slot

    @property
    def num_tokens(self) -> int:
        return len(self.prompt) + len(self.tail)

    @property
    def num_uncomputed_tokens(self) -> int:
        """Tokens to compute before the next can be sampled."""
        return self.num_tokens - self.num_computed_tokens

    @property
    def prefilling(self) -> bool:
        """Whether more than the latest token is still to compute."""
        return self.num_uncomputed_tokens > 1

    @property
    def has_checkpoint(self) -> bool:
        """Whether its conversation may roll back to the end of the prompt."""
        return self.request.conversation != "" and self.request.checkpoint

    @property
    def withheld_ids(self) -> Collection[int]:
        """End tokens that must not come next, because the answer is too short yet."""
        too_short = self.num_generated_tokens < self.request.sampling.min_tokens
        return self.request.end_ids if too_short else ()

    @property
    def num_reusable_tokens(self) -> int:
        """Prompt tokens that may come from the cache: all but the last, unless its logits are not wanted."""
        return len(self.prompt) - bool(self.request.max_tokens)

    def uniform(self) -> float:
        """The next random number in [0, 1). It depends on the request alone."""
        return self._random.random()

    def next_chunk(self, max_tokens: int) -> Chunk:
        """The next tokens to compute, at most `max_tokens`."""
        done = self.num_computed_tokens
        if done >= len(self.prompt):
            start = done - len(self.prompt)
            tokens = np.array(self.tail[start : start + max_tokens], np.int32)
        else:
            ahead = [boundary for boundary in self.boundaries if boundary > done]
            tokens = self.prompt[done : min(done + max_tokens, len(self.prompt), *ahead)]
        wants_logits = done + len(tokens) == self.num_tokens and self.request.max_tokens > 0
        return Chunk(self.assigned_slot.seq, tokens, wants_logits)

    def append(self, token: int, *, forced: bool = False) -> FinishReason | None:
        """Add a sampled or forced token; return why the request ends with it, or None. Raises GuideFailed."""
        self.tail.append(token)
        self.num_generated_tokens += 1
        if self.lookup is not None:
            self.lookup.append(token, forced=forced)
        guide, ignore_eos = self.request.guide, self.request.sampling.ignore_eos
        if self.history is not None:
            self.history.accept(token)
        if token in self.request.end_ids and not ignore_eos:
            self.finish = FinishReason.STOP
            return self.finish
        if guide is not None:
            guide.accept(token)
        if self._repetition.append(token) and not ignore_eos:
            self.finish = FinishReason.REPETITION
        elif self.num_generated_tokens >= self.max_tokens:
            complete = guide is not None and not self.request.end_ids.isdisjoint(guide.forced()[:1])
            self.finish = FinishReason.STOP if complete else FinishReason.LENGTH
        return self.finish

    def forced(self) -> Collection[int]:
        """The tokens that the guide forces next; none if log probabilities need the logits of each."""
        request = self.request
        if self.finish is not None or request.guide is None or request.sampling.logprobs is not None:
            return ()
        return request.guide.forced()

    def forced_with_logits(self) -> Collection[int]:
        """The tokens that the guide forces next, if log probabilities need the logits of each."""
        guide = self.request.guide
        return () if guide is None or self.request.sampling.logprobs is None else guide.forced()

    def tokens(self) -> Tokens:
        return np.concatenate([self.prompt, np.array(self.tail, np.int32)])

    def release_slot(self) -> None:
        """Give the slot back. Its cells keep what was computed."""
        slot = self.assigned_slot
        slot.resident = self.tokens()[: self.num_computed_tokens]
        slot.owner = self.slot = None

    def preempt(self) -> None:
        """Give the slot back. What was generated becomes part of the prompt, to be computed again."""
        self.release_slot()
        self.prompt, self.tail = self.tokens(), []
        self.num_computed_tokens = self.num_shared_tokens = 0
        self.preempted = True
        self.boundaries.clear()


def common_prefix(a: Tokens, b: Tokens) -> int:
    """Length of the common prefix of `a` and `b`; may be 0 where it is shorter than SHARE_MIN."""
    shorter = min(len(a), len(b))
    if shorter < SHARE_MIN or a[SHARE_MIN - 1] != b[SHARE_MIN - 1]:
        return 0  # decides most pairs without comparing them
    different = a[:shorter] != b[:shorter]
    first = int(different.argmax())
    return first if different[first] else shorter
