"""A request on its way through the engine, and the slots that hold tokens in the cache."""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from ossctl.engine.repetition import RepetitionDetector
from ossctl.engine.request import FinishReason, Request
from ossctl.runtime.base import Chunk, Snapshot, Tokens

SHARE_MIN = 16  # tokens; below it, looking for a common prefix costs more than computing it

_SNAPSHOTS_MAX = 4  # a slot, where there are many; one of gpt-oss takes 3 to 4.5 MiB
_SNAPSHOTS_ALL = 32  # of all slots, where there are few

_NOTHING: Tokens = np.empty(0, np.int32)


@dataclass
class Slot:
    """One sequence of the runner: what it holds, also after its request has ended.

    `resident` int32 [n] are the tokens whose cells can be reused; `snapshots` belong to prefixes of them. The
    first `n_shared` tokens were shared with another request.
    """

    seq: int
    resident: Tokens = field(default_factory=lambda: _NOTHING)
    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    snapshots_max: int = _SNAPSHOTS_MAX
    owner: "Sequence | None" = None
    conversation: str = ""  # of its latest request
    last_used: int = 0
    n_shared: int = 0

    @classmethod
    def of(cls, n_slots: int) -> list["Slot"]:
        """Empty slots for all sequences of a runner."""
        snapshots_max = max(_SNAPSHOTS_MAX, _SNAPSHOTS_ALL // n_slots)
        return [cls(seq, snapshots_max=snapshots_max) for seq in range(n_slots)]

    def held(self) -> Tokens:
        """The tokens that are computed, of a running request or of an ended one."""
        return self.resident if self.owner is None else self.owner.prompt[: self.owner.computed]

    def keep(self, n_tokens: int) -> None:
        """Forget all but the first `n_tokens` tokens."""
        self.resident = self.resident[:n_tokens]
        self.n_shared = min(self.n_shared, n_tokens)
        self.snapshots = {n: snapshot for n, snapshot in self.snapshots.items() if n <= n_tokens}

    def remember(self, snapshot: Snapshot) -> None:
        """Keep a snapshot; another makes way for it, so that many are of late and a few reach far back."""
        self.snapshots[snapshot.n_tokens] = snapshot
        if len(self.snapshots) <= self.snapshots_max:
            return
        lengths = [0, *sorted(self.snapshots)]

        def loss(place: int) -> float:
            """Tokens that would be computed again without it, as a share of those after it."""
            return (lengths[place + 1] - lengths[place - 1]) / (lengths[-1] - lengths[place])

        del self.snapshots[lengths[min(range(1, len(lengths) - 1), key=loss)]]


class Sequence:
    """A request's live state: `prompt` is to be computed at once, `tail` came token by token."""

    def __init__(self, request: Request, limit: int) -> None:
        self.request = request
        self.prompt = request.prompt
        self.tail: list[int] = []
        self.slot: Slot | None = None
        self.computed = 0  # tokens in the cache
        self.generated = 0
        self.cached = 0  # tokens of the request's prompt that were in the cache already
        self.preempted = False  # it had to leave a full cache
        self.times_bypassed = 0  # others that were admitted before it, for there was no room for it yet
        self.admitted = 0.0  # when it first got a slot, on perf_counter's clock
        self.shared = 0  # of the computed, tokens that another sequence computed
        # where the prefill stops for a snapshot that others will use
        self.boundaries = {len(request.prompt)} if self.returnable else set[int]()
        self.max_tokens = min(request.max_tokens, limit - len(request.prompt))
        self.finish: FinishReason | None = None
        self._repetition = RepetitionDetector()
        self._random = np.random.Generator(np.random.Philox(request.sampling.seed))

    @property
    def place(self) -> Slot:
        """The slot of a running sequence. Raises ValueError while it waits."""
        if self.slot is None:
            raise ValueError(f"request {self.request.id} is not running")
        return self.slot

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.tail)

    @property
    def prefilling(self) -> bool:
        """Whether more than the last token has to be computed before the next can be drawn."""
        return self.num_uncomputed > 1

    @property
    def num_uncomputed(self) -> int:
        """Tokens to compute before the next can be drawn; at least one, where there is a next."""
        return self.length - self.computed

    @property
    def returnable(self) -> bool:
        """Whether its conversation may come back to where the prompt ended."""
        return self.request.conversation != "" and self.request.returnable

    @property
    def reusable(self) -> int:
        """Tokens of the prompt that can be taken over: logits come of computing the last one."""
        return len(self.prompt) - bool(self.request.max_tokens)

    def uniform(self) -> float:
        """The next draw in [0, 1), which depends on the request alone."""
        return self._random.random()

    def next_chunk(self, room: int) -> Chunk:
        """At most `room` of the tokens that come next."""
        if self.computed >= len(self.prompt):
            start = self.computed - len(self.prompt)
            tokens = np.array(self.tail[start : start + room], np.int32)
        else:
            ahead = [b for b in self.boundaries if b > self.computed]
            end = min(self.computed + room, len(self.prompt), *ahead)
            tokens = self.prompt[self.computed : end]
        wants_logits = self.computed + len(tokens) == self.length and self.request.max_tokens > 0
        return Chunk(self.place.seq, tokens, wants_logits)

    def append(self, token: int) -> FinishReason | None:
        """Take a token; return why the request ends with it, if it does. Raises GuideFailed."""
        self.tail.append(token)
        self.generated += 1
        guide = self.request.guide
        if token in self.request.end_ids:
            self.finish = FinishReason.STOP
            return self.finish
        if guide is not None:
            guide.accept(token)
        if self._repetition.append(token):
            self.finish = FinishReason.REPETITION
        elif self.generated >= self.max_tokens:
            over = guide is not None and not self.request.end_ids.isdisjoint(guide.forced()[:1])
            self.finish = FinishReason.STOP if over else FinishReason.LENGTH  # only the end was missing
        return self.finish

    def forced(self) -> Collection[int]:
        """What comes next in any case. Logits that were asked for are drawn all the same."""
        request = self.request
        if self.finish is not None or request.guide is None or request.sampling.logprobs is not None:
            return ()
        return request.guide.forced()

    def tokens(self) -> Tokens:
        return np.concatenate([self.prompt, np.array(self.tail, np.int32)])

    def leave(self) -> None:
        """Give the slot back, with what is computed in it."""
        slot = self.place
        slot.resident = self.tokens()[: self.computed]
        slot.owner = self.slot = None

    def restart(self) -> None:
        """Leave the slot; everything so far will be computed again as a prompt."""
        self.leave()
        self.prompt, self.tail = self.tokens(), []
        self.computed = self.shared = 0
        self.preempted = True
        self.boundaries.clear()


def common_prefix(a: Tokens, b: Tokens) -> int:
    """How many tokens two sequences have in common at their start."""
    shorter = min(len(a), len(b))
    if shorter < SHARE_MIN or a[SHARE_MIN - 1] != b[SHARE_MIN - 1]:
        return 0  # cheap for most pairs; the few tokens below SHARE_MIN are not worth a look
    different = a[:shorter] != b[:shorter]
    first = int(different.argmax())
    return first if different[first] else shorter
