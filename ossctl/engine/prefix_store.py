"""Shared prefixes of prompts, saved outside of the cache when no slot holds them any longer."""

from ossctl.engine.prefix_disk import SavedPrefix
from ossctl.engine.sequence import Slot, common_prefix
from ossctl.runtime.base import RollbackImpossible, Runner, Tokens

_MIN_TOKENS = 64  # below, restoring a prefix takes about as long as computing it
_MAX_BYTES = 256 << 20  # of all prefixes; 1,000 tokens of gpt-oss-20b and its window take 24 MiB


class PrefixStore:
    """The prefixes used most recently, up to `_MAX_BYTES`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._prefixes: list[SavedPrefix] = []  # least recently used first

    def best(self, prompt: Tokens) -> tuple[SavedPrefix, int] | None:
        """The prefix that holds most of `prompt`, and how many tokens of it can be restored."""
        usable = [
            (saved, self._usable(saved, common_prefix(saved.tokens, prompt))) for saved in self._prefixes
        ]
        return max((each for each in usable if each[1]), key=lambda each: each[1], default=None)

    def save(self, slot: Slot, others: list[Slot]) -> None:
        """Save the shared prefix in an idle `slot` before it is overwritten, unless `others` hold it.

        Saving truncates the slot to that prefix.
        """
        tokens = slot.resident[: slot.num_shared_tokens]
        if len(tokens) < _MIN_TOKENS:
            return
        copies = [*(other.computed_tokens() for other in others), *(saved.tokens for saved in self._prefixes)]
        if any(common_prefix(copy, tokens) == len(tokens) for copy in copies):
            return
        try:
            self._runner.rollback(slot.seq, len(tokens), slot.snapshots.get(len(tokens)))
        except RollbackImpossible:
            return
        slot.truncate(len(tokens))
        self._add(SavedPrefix(tokens, self._runner.save(slot.seq), slot.snapshots))

    def restore(self, saved: SavedPrefix, slot: Slot, n_tokens: int) -> None:
        """Make `slot` hold the first `n_tokens` tokens of a saved prefix. Raises RollbackImpossible."""
        self._add(saved)
        self._runner.load(slot.seq, len(saved.tokens), saved.state)
        self._runner.rollback(slot.seq, n_tokens, saved.snapshots.get(n_tokens))
        slot.resident, slot.snapshots = saved.tokens, dict(saved.snapshots)

    def _add(self, saved: SavedPrefix) -> None:
        """Make `saved` the most recently used one."""
        self._prefixes = [other for other in self._prefixes if other is not saved] + [saved]
        while sum(len(each.state) for each in self._prefixes) > _MAX_BYTES:
            del self._prefixes[0]

    def _usable(self, saved: SavedPrefix, common: int) -> int:
        if common == len(saved.tokens) or not self._runner.needs_snapshots:
            return common
        return max((n for n in saved.snapshots if n <= common), default=0)
