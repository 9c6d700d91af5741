"""The runner's sequences as slots, and the search for the one that holds most of a prompt."""

from dataclasses import dataclass, replace

from ossctl.engine.persistence import Persistence
from ossctl.engine.prefix_disk import DiskPrefix, SavedPrefix
from ossctl.engine.prefix_store import PrefixStore
from ossctl.engine.sequence import SHARE_MIN, Sequence, Slot, common_prefix
from ossctl.runtime.base import RollbackImpossible, Runner

# Prefills of this many tokens also pause before the last one: the same prompt then computes only that again.
_LONG_PREFILL = 256


@dataclass(frozen=True)
class Match:
    """What holds `common` tokens of a prompt, and how many of these can be reused: `usable`."""

    slot: Slot | None = None
    saved: SavedPrefix | None = None
    on_disk: DiskPrefix | None = None
    common: int = 0
    usable: int = 0


class Slots:
    """Gives slots to sequences, with the prefixes of their prompts that are cached."""

    def __init__(self, runner: Runner, persistence: Persistence) -> None:
        self._runner = runner
        self._persistence = persistence
        self._slots = Slot.of(runner.n_seq)
        self._prefixes = PrefixStore(runner)
        self._clock = 0

    def free(self) -> int:
        """Number of slots without a running request."""
        return sum(slot.owner is None for slot in self._slots)

    def match(self, sequence: Sequence) -> Match:
        """What holds most of the prompt of `sequence`; an empty match if nothing holds any."""
        best = Match()
        prompt = sequence.prompt[: sequence.num_reusable_tokens]
        conversation = sequence.request.conversation
        for slot in self._slots:
            common = common_prefix(slot.computed_tokens(), prompt)
            if common < SHARE_MIN:
                continue
            found = Match(slot, common=common, usable=self._usable(slot, common))
            if _rank(found, conversation) > _rank(best, conversation):
                best = found
        saved = self._prefixes.best(prompt)
        if saved is not None and saved[1] >= best.usable + SHARE_MIN:
            common = common_prefix(saved[0].tokens, prompt)
            best = Match(saved=saved[0], common=common, usable=saved[1])
        on_disk = self._persistence.find(sequence, best.usable)
        if on_disk is not None:
            return Match(on_disk=on_disk, common=on_disk.n_tokens, usable=on_disk.n_tokens)
        return best

    def assign(self, sequence: Sequence, match: Match) -> None:
        """Give `sequence` a free slot that holds the usable part of `match`."""
        match = self._loaded(sequence, match)
        slot = self._choose(sequence, match)
        if slot is not match.slot:
            self._save_prefix(slot)
        self._add_boundaries(sequence, match)
        n_tokens = self._fill(slot, match)
        slot.truncate(n_tokens)
        if sequence.has_checkpoint and n_tokens < sequence.num_reusable_tokens == len(sequence.prompt):
            slot.snapshots.pop(n_tokens, None)  # the one at the end of this prompt replaces it
        slot.owner, sequence.slot = sequence, slot
        slot.conversation = sequence.request.conversation
        slot.persist = sequence.request.persist
        slot.num_shared_tokens = max(slot.num_shared_tokens, n_tokens)
        sequence.num_computed_tokens = n_tokens
        copied = match.slot is not None and match.slot is not slot
        sequence.num_shared_tokens = n_tokens if copied else 0
        if copied and n_tokens:
            self._persistence.save_head(slot, sequence, n_tokens)
        if not sequence.preempted:
            sequence.num_cached_tokens = n_tokens
        self._clock += 1
        slot.last_used = self._clock

    def save(self, *, ending: bool) -> bool:
        """Write the contents of idle slots to disk; False if none is worth it."""
        saved = [self._persistence.save(slot, ending=ending) for slot in self._slots]
        return any(saved)

    def clear(self, slot: Slot) -> None:
        """Free the cells of an idle slot."""
        self._runner.rollback(slot.seq, 0)
        slot.truncate(0)

    def clear_all(self) -> None:
        """Free all cells. No slot may have an owner."""
        for slot in self._slots:
            self.clear(slot)

    def restore_latest(self, slot: Slot, n_tokens: int) -> int:
        """Return to the latest snapshot of the first `n_tokens` tokens, or to nothing; return its length."""
        latest = max((n for n in slot.snapshots if n <= n_tokens), default=0)
        try:
            self._runner.rollback(slot.seq, latest, slot.snapshots.get(latest))
        except RollbackImpossible:
            self._runner.rollback(slot.seq, 0)
            return 0
        return latest

    def evict_oldest(self) -> bool:
        """Clear the idle slot that was used least recently; False if all idle slots are empty."""
        idle = [slot for slot in self._slots if slot.owner is None and len(slot.resident)]
        if idle:
            oldest = min(idle, key=lambda slot: slot.last_used)
            self._save_prefix(oldest)
            self.clear(oldest)
        return bool(idle)

    def _loaded(self, sequence: Sequence, match: Match) -> Match:
        """The match with its state in RAM; if the disk has lost it meanwhile, the best match in RAM."""
        if match.on_disk is None:
            return match
        saved = self._persistence.load(match.on_disk)
        if saved is not None:
            return replace(match, saved=saved)
        sequence.on_disk = None
        return self.match(sequence)

    def _choose(self, sequence: Sequence, match: Match) -> Slot:
        """A free slot: that of the sequence's conversation, else the least recently used.

        A sequence without a conversation gets the matching slot if that is free and has none either.
        """
        free = [slot for slot in self._slots if slot.owner is None]
        conversation = sequence.request.conversation
        for slot in free:
            matches = slot is match.slot and match.usable > 0
            if slot.conversation == conversation and (conversation or matches):
                return slot
        return min(free, key=lambda slot: slot.last_used)

    def _add_boundaries(self, sequence: Sequence, match: Match) -> None:
        if match.common >= match.usable + SHARE_MIN and self._runner.needs_snapshots:
            sequence.boundaries.add(match.common)  # a snapshot for the next prompt with this prefix
        if sequence.has_checkpoint and len(sequence.prompt) - match.usable >= _LONG_PREFILL:
            sequence.boundaries.add(sequence.num_reusable_tokens)

    def _fill(self, slot: Slot, match: Match) -> int:
        """Fill `slot` with the usable part of `match`; return its length, 0 if that proves impossible."""
        if match.saved:
            n_tokens = self._restore(match.saved, slot, match.usable)
            if match.on_disk:
                slot.num_saved_tokens, slot.unsaved_seconds = n_tokens, 0.0
            return n_tokens
        if match.slot and match.usable:
            return self._reuse(match.slot, slot, match.usable)
        self._runner.rollback(slot.seq, 0)
        return 0

    def _restore(self, saved: SavedPrefix, target: Slot, n_tokens: int) -> int:
        """Restore a saved prefix, evicting idle slots if the cache has no space for it."""
        self.clear(target)
        while True:
            try:
                self._prefixes.restore(saved, target, n_tokens)
            except RollbackImpossible:
                if not self.evict_oldest():
                    self._runner.rollback(target.seq, 0)
                    return 0
            else:
                return n_tokens

    def _reuse(self, source: Slot, target: Slot, n_tokens: int) -> int:
        """Roll `source` back to its first `n_tokens` tokens, or copy these to another slot."""
        snapshot = source.snapshots.get(n_tokens)
        source.num_shared_tokens = max(source.num_shared_tokens, n_tokens)
        try:
            if source is target:
                self._runner.rollback(target.seq, n_tokens, snapshot)
            else:
                self._runner.copy(source.seq, target.seq, n_tokens, snapshot)
                target.resident = source.computed_tokens()
                target.snapshots = dict(source.snapshots)
                target.unsaved_seconds, target.num_saved_tokens = 0.0, 0
        except RollbackImpossible:
            self._runner.rollback(target.seq, 0)
            return 0
        return n_tokens

    def _usable(self, slot: Slot, common: int) -> int:
        """The longest part of the common prefix that the slot can be rolled back to exactly."""
        if self._runner.can_rollback(slot.seq, common):
            return common
        return max((n for n in slot.snapshots if n <= common), default=0)

    def _save_prefix(self, slot: Slot) -> None:
        """Save the conversation in `slot` on disk, and its shared prefix in RAM, before it is overwritten."""
        self._persistence.save_replaced(slot)
        self._prefixes.save(slot, [other for other in self._slots if other is not slot])


def _rank(match: Match, conversation: str) -> tuple[int, int, bool, bool]:
    slot = match.slot
    return (
        match.usable,
        match.common,
        slot is not None and slot.conversation == conversation,
        slot is not None and slot.owner is None,
    )
