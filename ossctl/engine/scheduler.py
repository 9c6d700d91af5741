"""Which tokens of which sequences go into the next batch."""

from collections import deque
from collections.abc import Mapping
from itertools import islice
from time import perf_counter

from ossctl.engine.sequence import SHARE_MIN, Sequence, common_prefix
from ossctl.engine.slots import Slots
from ossctl.runtime.base import Chunk, Runner

Batch = list[tuple[Sequence, Chunk]]

_USUAL = 16  # tokens of an answer, before any has ended: rather too few, so that all sequences begin
_MAX_BYPASSED = 16  # others that go first where a long prompt does not fit yet
_LEAST_CHUNK = 32  # tokens of a prompt in a batch, however many sequences decode in it


class Scheduler:
    """Running sequences decode first, then prompts fill the rest of the batch, the shortest first.

    While any decodes, a batch is no longer than what the runner computes at once: so a long prompt holds
    nobody up.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._slots = Slots(runner)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []  # in order of admission
        self._full = False  # the cache was; nobody comes in until somebody leaves
        self._ended, self._tokens_ended = 1, _USUAL  # requests that came to their end, and their tokens

    def schedule(self) -> Batch:
        """The next batch, by ascending sequence ids; empty if there is nothing to do."""
        while self._admit():
            pass  # newcomers first: they may ask a prefill to stop where they part from it
        decoding = sum(not sequence.prefilling for sequence in self.running)
        room = self._runner.n_batch
        if decoding:
            room = min(room, max(self._runner.n_ubatch, decoding + _LEAST_CHUNK))
        batch: Batch = []
        for sequence in sorted(self.running, key=lambda s: s.num_uncomputed):  # stable: admission order
            if room and sequence.num_uncomputed:
                batch.append((sequence, sequence.next_chunk(room)))
                room -= len(batch[-1][1].tokens)
        batch.sort(key=lambda item: item[1].seq)
        return batch

    def computed(self, sequence: Sequence, chunk: Chunk) -> None:
        """`chunk` is in the cache now."""
        sequence.computed += len(chunk.tokens)
        if sequence.computed in sequence.boundaries and self._runner.needs_snapshots:
            sequence.place.remember(self._runner.snapshot(chunk.seq))

    def release(self, sequence: Sequence) -> None:
        """`sequence` has ended or is no longer wanted; its cells stay for others to take over."""
        if sequence.slot is None:
            self.waiting.remove(sequence)
            return
        if sequence.finish is not None:
            self._ended += 1
            self._tokens_ended += sequence.generated
        sequence.leave()
        self.running.remove(sequence)
        self._full = False

    def evict_or_preempt(self) -> Sequence | None:
        """The cache is full: forget what ended requests left, else send the newest sequence back.

        Returns the only running sequence if even that one does not fit; it cannot be helped.
        """
        if self._slots.clear_oldest_idle():
            return None
        newest = self.running[-1]
        if len(self.running) == 1:
            return newest
        self._preempt(newest)
        self._full = True
        return None

    def preempt_all(self) -> None:
        """A decode failed: what the running sequences hold is not to be trusted."""
        while self.running:
            self._preempt(self.running[-1])

    def on_abort(self, batch: Batch, lengths: Mapping[int, int]) -> None:
        """A decode was stopped; `lengths` are what its sequences hold now."""
        for sequence, chunk in batch:
            sequence.computed = lengths[chunk.seq]

    def _preempt(self, sequence: Sequence) -> None:
        slot = sequence.place
        self.running.remove(sequence)
        sequence.restart()
        self._slots.clear(slot)
        self.waiting.appendleft(sequence)

    def _admit(self) -> bool:
        """Place the first waiting sequence that has reason to start now; False if there is none."""
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
            match = self._slots.match(sequence)
            if self._awaits_prefix(sequence, match.usable if match else 0):
                continue
            self._slots.place(sequence, match)
            sequence.admitted = sequence.admitted or perf_counter()
            self.waiting.remove(sequence)
            self.running.append(sequence)
            for other in bypassed:
                other.times_bypassed += 1
            return True
        return False

    def _fits(self, sequence: Sequence) -> bool:
        """Whether a shared cache has room for this prompt and for the answers that are to be expected.

        What running sequences share with each other counts once.
        """
        if not self.running or self._runner.n_cells >= self._runner.n_seq * self._runner.n_ctx_seq:
            return True
        used = sum(s.length + 1 - s.shared + self._to_come(s) for s in self.running)
        used += max(s.shared for s in self.running)
        return used + sequence.length + self._to_come(sequence) < self._runner.n_cells

    def _to_come(self, sequence: Sequence) -> int:
        """Tokens that an answer will still have, if it becomes as long as those before were on average."""
        usual = self._tokens_ended // self._ended
        return max(0, min(usual, sequence.max_tokens) - sequence.generated)

    def _awaits_turn(self, conversation: str) -> bool:
        """Whether another request of the conversation is running."""
        return conversation != "" and any(o.request.conversation == conversation for o in self.running)

    def _awaits_prefix(self, sequence: Sequence, usable: int) -> bool:
        """Whether a running prefill will soon have computed more of this prompt than the cache has."""
        for other in self.running:
            if other.computed >= len(other.prompt):
                continue
            common = common_prefix(other.prompt, sequence.prompt[: sequence.reusable])
            if common >= usable + SHARE_MIN and common > other.computed:
                other.boundaries.add(common)
                return True
        return False
