"""The runner's sequences as slots, and the search for one that has computed a prompt's start already."""

from dataclasses import dataclass

from ossctl.engine.prefix_store import PrefixStore, SavedPrefix
from ossctl.engine.sequence import SHARE_MIN, Sequence, Slot, common_prefix
from ossctl.runtime.base import RollbackImpossible, Runner

# Tokens after which it pays to compute a prompt's last one apart: asked again, only that one is computed.
_LONG = 256


@dataclass(frozen=True)
class Match:
    """What a slot or a saved head holds of a prompt: `common` tokens; `usable` of them can be taken over."""

    slot: Slot | None
    common: int
    usable: int
    saved: SavedPrefix | None = None


class Slots:
    """Gives slots to sequences and takes over the prefixes that are in the cache."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._slots = Slot.of(runner.n_seq)
        self._prefixes = PrefixStore(runner)
        self._clock = 0

    def free(self) -> int:
        """Slots without a running request."""
        return sum(slot.owner is None for slot in self._slots)

    def match(self, sequence: Sequence) -> Match | None:
        """The slot that spares the most of computing the prompt of `sequence`.

        Among equals it is the one of its conversation.
        """
        best: Match | None = None
        prompt, conversation = sequence.prompt[: sequence.reusable], sequence.request.conversation
        for slot in self._slots:
            common = common_prefix(slot.held(), prompt)
            if common < SHARE_MIN:
                continue
            found = Match(slot, common, self._usable(slot, common))
            if best is None or _rank(found, conversation) > _rank(best, conversation):
                best = found
        saved = self._prefixes.best(prompt)
        if saved is not None and (best is None or saved[1] > best.usable):
            return Match(None, common_prefix(saved[0].tokens, prompt), saved[1], saved[0])
        return best

    def place(self, sequence: Sequence, match: Match | None) -> None:
        """Give `sequence` a free slot that holds what `match` has of its prompt."""
        usable = match.usable if match else 0
        source = match.slot if match else None
        slot = self._slot_for(sequence, source if usable else None)
        if slot is not source:
            self._save_prefix(slot)
        if match and self._runner.needs_snapshots and match.common >= usable + SHARE_MIN:
            sequence.boundaries.add(match.common)  # the next one with this prefix shall find a snapshot
        if sequence.returnable and len(sequence.prompt) - usable >= _LONG:
            sequence.boundaries.add(sequence.reusable)
        if match and match.saved:
            usable = self._restore(match.saved, slot, usable)
        elif source and usable:
            usable = self._take_over(source, slot, usable)
        else:
            self._runner.rollback(slot.seq, 0)
        slot.keep(usable)
        if sequence.returnable and usable < sequence.reusable == len(sequence.prompt):
            slot.snapshots.pop(usable, None)  # the one at the end of this prompt will do for both
        slot.owner, sequence.slot = sequence, slot
        slot.conversation = sequence.request.conversation
        sequence.computed = usable
        sequence.shared = usable if source is not None and source is not slot else 0
        slot.n_shared = max(slot.n_shared, usable)
        if not sequence.preempted:
            sequence.cached = usable
        self._clock += 1
        slot.last_used = self._clock

    def clear(self, slot: Slot) -> None:
        """Free the cells of a slot that has no owner."""
        self._runner.rollback(slot.seq, 0)
        slot.keep(0)

    def clear_oldest_idle(self) -> bool:
        """Free the cells that an ended request left behind; False if there are none."""
        idle = [slot for slot in self._slots if slot.owner is None and len(slot.resident)]
        if idle:
            oldest = min(idle, key=lambda slot: slot.last_used)
            self._save_prefix(oldest)
            self.clear(oldest)
        return bool(idle)

    def _save_prefix(self, slot: Slot) -> None:
        """What `slot` holds will be gone: not what many prompts begin with."""
        self._prefixes.save(slot, [other for other in self._slots if other is not slot])

    def _restore(self, saved: SavedPrefix, target: Slot, n_tokens: int) -> int:
        """Tokens of a saved head that `target` holds now; what ended requests left makes room for it."""
        self.clear(target)
        while True:
            try:
                self._prefixes.restore(saved, target, n_tokens)
            except RollbackImpossible:
                if not self.clear_oldest_idle():
                    self._runner.rollback(target.seq, 0)
                    return 0
            else:
                return n_tokens

    def _take_over(self, source: Slot, target: Slot, n_tokens: int) -> int:
        snapshot = source.snapshots.get(n_tokens)
        source.n_shared = max(source.n_shared, n_tokens)
        try:
            if source is target:
                self._runner.rollback(target.seq, n_tokens, snapshot)
            else:
                self._runner.copy(source.seq, target.seq, n_tokens, snapshot)
                target.resident = source.held()
                target.snapshots = dict(source.snapshots)
        except RollbackImpossible:
            self._runner.rollback(target.seq, 0)
            return 0
        return n_tokens

    def _usable(self, slot: Slot, common: int) -> int:
        """The longest part of the common prefix that the slot can be rolled back to exactly."""
        if self._runner.can_rollback(slot.seq, common):
            return common
        return max((n for n in slot.snapshots if n <= common), default=0)

    def _slot_for(self, sequence: Sequence, source: Slot | None) -> Slot:
        """The free slot of the sequence's conversation, else `source`, whose prefix it takes over, if that
        is free and no other conversation's, else the one that has been idle for the longest."""
        free = [slot for slot in self._slots if slot.owner is None]
        conversation = sequence.request.conversation
        for slot in free:
            if slot.conversation == conversation and (conversation or slot is source):
                return slot
        return min(free, key=lambda slot: slot.last_used)


def _rank(match: Match, conversation: str) -> tuple[int, int, bool, bool]:
    slot = match.slot
    return (
        match.usable,
        match.common,
        slot is not None and slot.conversation == conversation,
        slot is not None and slot.owner is None,
    )
