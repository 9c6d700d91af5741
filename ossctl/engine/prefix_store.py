"""Shared prefixes of prompts, saved outside of the cache when no slot holds them any longer."""

from ossctl.engine.prefix_disk import SavedPrefix
from ossctl.engine.sequence import SHARE_MIN, Slot, common_prefix
from ossctl.runtime.base import RollbackImpossible, Runner, Tokens

_MIN_TOKENS = 64  # below, restoring a prefix takes about as long as computing it
_MAX_BYTES = 256 << 20  # of all prefixes; 1,000 tokens of gpt-oss-20b and its window take 24 MiB
_MAX_PREFIXES = 256  # every prompt is compared with each, and small models have small states


class PrefixStore:
    """The prefixes used most recently, up to `_MAX_PREFIXES` and `_MAX_BYTES`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._prefixes: list[SavedPrefix] = []  # least recently used first

    def best(self, prompt: Tokens) -> tuple[SavedPrefix, int] | None:
        """The prefix that holds most of `prompt`, and how many tokens of it can be restored."""
        best, most = None, 0
        for saved in reversed(self._prefixes):
            tokens = saved.tokens
            if len(tokens) <= most or len(prompt) <= most or tokens[most] != prompt[most]:
                continue  # it holds no more of the prompt than the best so far
            usable = self._usable(saved, common_prefix(tokens, prompt))
            if usable > most:
                best, most = saved, usable
        return None if best is None else (best, most)

    def save(self, slot: Slot, others: list[Slot]) -> None:
        """Save the shared prefix in an idle `slot` before it is overwritten, unless `others` hold it.

        Saving truncates the slot to that prefix. It is not saved if it is hardly longer than a saved one.
        """
        tokens = slot.resident[: slot.num_shared_tokens]
        if len(tokens) < _MIN_TOKENS:
            return
        if any(common_prefix(other.computed_tokens(), tokens) == len(tokens) for other in others):
            return
        known = self.best(tokens)
        if known is not None and known[1] > len(tokens) - SHARE_MIN:
            self._add(known[0])
            return
        try:
            self._runner.rollback(slot.seq, len(tokens), slot.snapshots.get(len(tokens)))
        except RollbackImpossible:
            return
        slot.truncate(len(tokens))
        self._add(SavedPrefix(tokens.copy(), self._runner.save(slot.seq), slot.snapshots))

    def restore(self, saved: SavedPrefix, slot: Slot, n_tokens: int) -> None:
        """Make `slot` hold the first `n_tokens` tokens of a saved prefix. Raises RollbackImpossible."""
        self._add(saved)
        self._runner.load(slot.seq, len(saved.tokens), saved.state)
        self._runner.rollback(slot.seq, n_tokens, saved.snapshots.get(n_tokens))
        slot.resident, slot.snapshots = saved.tokens, dict(saved.snapshots)

    def _add(self, saved: SavedPrefix) -> None:
        """Make `saved` the most recently used one, unless it is larger than all may be."""
        if saved.n_bytes > _MAX_BYTES:
            return
        self._prefixes = [other for other in self._prefixes if other is not saved] + [saved]
        n_bytes = sum(each.n_bytes for each in self._prefixes)
        while n_bytes > _MAX_BYTES or len(self._prefixes) > _MAX_PREFIXES:
            n_bytes -= self._prefixes.pop(0).n_bytes

    def _usable(self, saved: SavedPrefix, common: int) -> int:
        if common == len(saved.tokens) or not self._runner.needs_snapshots:
            return common
        return max((n for n in saved.snapshots if n <= common), default=0)
