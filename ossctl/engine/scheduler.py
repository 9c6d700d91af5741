"""Choosing which tokens of which sequences go into the next batch."""

from collections import deque
from collections.abc import Mapping
from itertools import islice
from time import perf_counter

from ossctl.engine.drafts import Verification
from ossctl.engine.isolation import Batch, isolated_batch
from ossctl.engine.persistence import Persistence
from ossctl.engine.sequence import SHARE_MIN, Sequence, Slot, common_prefix
from ossctl.engine.slots import Match, Slots
from ossctl.runtime.base import Chunk, RollbackImpossible, Runner

_ASSUMED_ANSWER = 16  # tokens per answer, before any has finished; low, so that all sequences start
_MAX_BYPASSED = 16  # requests admitted ahead of one that does not fit yet
_MIN_PREFILL = 32  # prompt tokens per batch, however many sequences decode in it


class Scheduler:
    """Running sequences decode first, then prompts fill the rest of the batch, shortest first.

    While any sequence decodes, batches stay around one ubatch, so that long prompts do not delay it. If
    `isolated`, batches are those of `isolated_batch`.
    """

    def __init__(self, runner: Runner, persistence: Persistence, *, isolated: bool = False) -> None:
        self._runner = runner
        self._isolated = isolated
        self._slots = Slots(runner, persistence)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []  # in order of admission
        self._full = False  # a sequence was preempted: admit none until another leaves
        self._num_finished, self._num_finished_tokens = 1, _ASSUMED_ANSWER  # for the average answer

    def schedule(self) -> Batch:
        """The next batch, in order of sequence ids; empty if there is nothing to do."""
        while self._admit():
            pass  # before chunks are cut: a new sequence may add a boundary to a running prefill
        if self._isolated:
            return isolated_batch(self.running, self._runner.n_ubatch)
        decoding = sum(not sequence.prefilling for sequence in self.running)
        budget = self._runner.n_batch
        if decoding:
            budget = min(budget, max(self._runner.n_ubatch, decoding + _MIN_PREFILL))
        batch: Batch = []
        for sequence in sorted(self.running, key=lambda s: s.num_uncomputed_tokens):
            if budget and sequence.num_uncomputed_tokens:
                chunk = sequence.next_chunk(budget)
                batch.append((sequence, chunk))
                budget -= len(chunk.tokens)
        batch.sort(key=lambda item: item[1].seq)
        return batch

    def on_decoded(self, sequence: Sequence, chunk: Chunk) -> None:
        """Count the tokens of `chunk` as computed, but for its draft; take a snapshot at a boundary."""
        sequence.num_computed_tokens += len(chunk.tokens) - chunk.n_drafted
        if sequence.num_computed_tokens in sequence.boundaries and self._runner.needs_snapshots:
            sequence.assigned_slot.add_snapshot(self._runner.snapshot(chunk.seq))

    def on_abort(self, batch: Batch, lengths: Mapping[int, int]) -> None:
        """Record what an aborted decode has computed; `lengths` are in tokens, by sequence id."""
        for sequence, chunk in batch:
            length = lengths[chunk.seq]
            if length < sequence.num_computed_tokens:  # a lost state
                length = self._slots.restore_latest(sequence.assigned_slot, sequence.num_computed_tokens)
            sequence.num_computed_tokens = min(length, sequence.num_tokens - chunk.wants_logits)
            if length > sequence.num_computed_tokens:  # a draft, or a token whose logits are lost
                self.cut(sequence.assigned_slot, sequence, sequence.num_computed_tokens)

    def retract(self, verified: Verification) -> None:
        """Remove the rejected draft tokens of a chunk from the cache."""
        if verified.n_accepted < verified.n_drafted:
            n_tokens = verified.n_computed + verified.n_accepted
            self.cut(verified.slot, verified.sequence, n_tokens)

    def release(self, sequence: Sequence) -> None:
        """Remove a finished or cancelled sequence. Its cells stay for others to reuse."""
        if sequence.slot is None:
            self.waiting.remove(sequence)
            return
        if sequence.finish is not None:
            self._num_finished += 1
            self._num_finished_tokens += sequence.num_generated_tokens
        sequence.release_slot()
        self.running.remove(sequence)
        self._full = False

    def clear(self) -> None:
        """Empty the cache. No sequence may be running."""
        self._slots.clear_all()

    def save(self, *, ending: bool) -> bool:
        """Write the contents of idle slots to disk; False if none is worth it."""
        return self._slots.save(ending=ending)

    def evict_or_preempt(self) -> Sequence | None:
        """Free cells of a full cache: evict an idle slot, else preempt the newest sequence.

        If only one sequence is running and nothing can be evicted, returns it: it can never continue.
        """
        if self._slots.evict_oldest():
            return None
        newest = self.running[-1]
        if len(self.running) == 1:
            return newest
        self._preempt(newest)
        self._full = True
        return None

    def preempt_all(self) -> None:
        """Preempt all running sequences, since a failed decode leaves their cells undefined."""
        while self.running:
            self._preempt(self.running[-1])

    def cut(self, slot: Slot, sequence: Sequence, n_tokens: int) -> None:
        """Remove all but the first `n_tokens` from `slot`, which `sequence` has, or had until this step."""
        try:
            self._runner.rollback(slot.seq, n_tokens)
        except RollbackImpossible:  # another sequence has taken cells of the window
            if slot.owner is sequence:
                self._preempt(sequence)
            else:
                self._slots.clear(slot)

    def _preempt(self, sequence: Sequence) -> None:
        slot = sequence.assigned_slot
        self.running.remove(sequence)
        sequence.preempt()
        self._slots.clear(slot)
        self.waiting.appendleft(sequence)

    def _admit(self) -> bool:
        """Start the first waiting sequence that can; False if there is none."""
        free = self._slots.free()
        if not free or (self._full and self.running):
            return False
        bypassed: list[Sequence] = []
        for sequence in islice(self.waiting, free):
            if not self._fits(sequence):
                if sequence.times_bypassed >= _MAX_BYPASSED:
                    return False
                bypassed.append(sequence)
                continue
            if self._awaits_turn(sequence.request.conversation):
                continue
            match = Match() if self._isolated else self._slots.match(sequence)
            if not self._isolated and self._awaits_prefix(sequence, match.usable):
                continue
            self._slots.assign(sequence, match)
            sequence.admitted_at = sequence.admitted_at or perf_counter()
            self.waiting.remove(sequence)
            self.running.append(sequence)
            for other in bypassed:
                other.times_bypassed += 1
            return True
        return False

    def _fits(self, sequence: Sequence) -> bool:
        """Whether a shared cache has space for this prompt and for what all answers are expected to need.

        The longest prefix shared between running sequences counts once.
        """
        if not self.running or self._runner.n_cells >= self._runner.n_seq * self._runner.n_ctx_seq:
            return True
        used = sum(s.num_tokens + 1 - s.num_shared_tokens + self._expected_tokens(s) for s in self.running)
        used += max(s.num_shared_tokens for s in self.running)
        return used + sequence.num_tokens + self._expected_tokens(sequence) < self._runner.n_cells

    def _expected_tokens(self, sequence: Sequence) -> int:
        """Tokens still to generate if the answer gets as long as the average one."""
        average = self._num_finished_tokens // self._num_finished
        return max(0, min(average, sequence.max_tokens) - sequence.num_generated_tokens)

    def _awaits_turn(self, conversation: str) -> bool:
        """Whether another request of the conversation is running."""
        return conversation != "" and any(o.request.conversation == conversation for o in self.running)

    def _awaits_prefix(self, sequence: Sequence, usable: int) -> bool:
        """Whether a running prefill will soon have computed more of this prompt than the cache holds."""
        for other in self.running:
            if other.num_computed_tokens >= len(other.prompt):
                continue
            common = common_prefix(other.prompt, sequence.prompt[: sequence.num_reusable_tokens])
            if common >= usable + SHARE_MIN and common > other.num_computed_tokens:
                other.boundaries.add(common)
                return True
        return False
