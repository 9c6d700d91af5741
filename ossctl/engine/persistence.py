"""When to read computed prefixes from disk, and when to write them."""

from collections import deque
from time import perf_counter

from ossctl.engine.prefix_disk import DiskPrefix, PrefixDisk, SavedPrefix
from ossctl.engine.sequence import Sequence, Slot, common_prefix
from ossctl.runtime.base import Runner, Tokens

_MIN_SAVED_SECONDS = 1.0  # of computing; less is not worth a file
_MIN_SEARCHED_SECONDS = 0.1  # of computing; a search takes a few milliseconds at most
_MIN_TOKENS = 64  # fewer are not stored
_MIN_MEASURED = 16  # prompt tokens of a decode that tells the speed of prefill
_MAX_HEADS = 64  # of which it is known, without a search, that they are on disk
_REST_SECONDS = 30.0  # between two writes of one slot, unless the engine ends


class Persistence:
    """Moves prefixes between the runner and a disk. Does nothing without a disk."""

    def __init__(self, runner: Runner, disk: PrefixDisk | None) -> None:
        self._runner = runner
        self._disk = disk
        self._prefill_seconds, self._prefill_tokens = 0.0, 0
        self._heads: deque[Tokens] = deque(maxlen=_MAX_HEADS)  # shared prefixes that are on disk
        self._saved_at: dict[int, float] = {}  # perf_counter, by slot

    def measure(self, n_tokens: int, seconds: float) -> None:
        """Count the `n_tokens` tokens of prompts in a decode, and their part of its `seconds`."""
        if n_tokens >= _MIN_MEASURED:
            self._prefill_tokens += n_tokens
            self._prefill_seconds += seconds

    def find(self, sequence: Sequence, usable: int) -> DiskPrefix | None:
        """A prefix that holds much more of the prompt than its first `usable` tokens."""
        missing = sequence.num_reusable_tokens - usable
        if self._disk is None or missing < _MIN_TOKENS or self._seconds(missing) < _MIN_SEARCHED_SECONDS:
            return None
        if not sequence.searched_disk:
            sequence.searched_disk = True
            sequence.on_disk = self._disk.find(sequence.prompt[: sequence.num_reusable_tokens])
        found = sequence.on_disk
        return found if found is not None and found.n_tokens >= usable + _MIN_TOKENS else None

    def load(self, found: DiskPrefix) -> SavedPrefix | None:
        """Read a prefix; None if that is not possible any more."""
        return self._disk.load(found) if self._disk is not None else None

    def save_head(self, slot: Slot, sequence: Sequence, n_tokens: int) -> None:
        """Write the first `n_tokens` tokens, which several prompts share. `slot` holds them alone.

        If that is all of the prompt, then the same request is answered several times, and no other shares it.
        Conversations are written under their names alone, to be deleted with them, and some not at all.
        """
        if self._disk is None or slot.conversation or n_tokens == sequence.num_reusable_tokens:
            return
        if self._disk.busy or not self._pays(n_tokens):
            return
        head = sequence.prompt[:n_tokens].copy()
        if not self._pays(n_tokens - max((common_prefix(each, head) for each in self._heads), default=0)):
            return
        self._heads.append(head)
        on_disk = self._disk.find(head)
        if on_disk is None or self._pays(n_tokens - on_disk.n_tokens):
            self._disk.save(SavedPrefix(head, self._runner.save(slot.seq), dict(slot.snapshots)), "")

    def save(self, slot: Slot, *, ending: bool) -> bool:
        """Write what an idle `slot` holds, if that pays; return whether it does.

        While the engine is not `ending`, it is written later if other writes are under way, or if the last
        one was a short time ago.
        """
        if self._disk is None or not slot.persist or slot.owner is not None:
            return False
        n_unsaved = len(slot.resident) - slot.num_saved_tokens
        if slot.unsaved_seconds < _MIN_SAVED_SECONDS or n_unsaved < _MIN_TOKENS:
            return False
        rests = perf_counter() - self._saved_at.get(slot.seq, -_REST_SECONDS) < _REST_SECONDS
        if not ending and (rests or self._disk.busy):
            return True
        self._disk.save(
            SavedPrefix(slot.resident, self._runner.save(slot.seq), dict(slot.snapshots)), slot.conversation
        )
        slot.unsaved_seconds, slot.num_saved_tokens = 0.0, len(slot.resident)
        self._saved_at[slot.seq] = perf_counter()
        return True

    def save_replaced(self, slot: Slot) -> None:
        """Write the conversation in an idle `slot` that another takes over, unless that has to wait."""
        if slot.conversation and self._disk is not None and not self._disk.busy:
            self.save(slot, ending=True)

    def _pays(self, n_tokens: int) -> bool:
        """Whether `n_tokens` tokens that are not on disk are worth a file."""
        return n_tokens >= _MIN_TOKENS and self._seconds(n_tokens) >= _MIN_SAVED_SECONDS

    def _seconds(self, n_tokens: int) -> float:
        """How long computing `n_tokens` takes; endless before the first prefill."""
        if not self._prefill_tokens:
            return float("inf")
        return n_tokens * self._prefill_seconds / self._prefill_tokens
