"""Beginnings that prompts share, saved outside of the cache when nothing in it holds one any longer."""

from dataclasses import dataclass

from ossctl.engine.sequence import Slot, common_prefix
from ossctl.runtime.base import RollbackImpossible, Runner, Snapshot, Tokens

_LEAST = 64  # tokens; below it, bringing a state back costs about what computing it does
_MOST_BYTES = 256 << 20  # of all; 1,000 tokens of gpt-oss-20b take 24 MiB and its window


@dataclass(frozen=True)
class SavedPrefix:
    """The first tokens of prompts, int32 [n], and the state of a sequence that holds just these.

    `snapshots` belong to prefixes of them.
    """

    tokens: Tokens
    state: bytes
    snapshots: dict[int, Snapshot]


class PrefixStore:
    """The latest ones that fit into `_MOST_BYTES`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._prefixes: list[SavedPrefix] = []  # the latest used one comes last

    def best(self, prompt: Tokens) -> tuple[SavedPrefix, int] | None:
        """The one that spares the most of computing `prompt`, and how many tokens that are."""
        found = [
            (saved, self._usable(saved, common_prefix(saved.tokens, prompt))) for saved in self._prefixes
        ]
        saved, usable = max(found, key=lambda each: each[1], default=(None, 0))
        return (saved, usable) if saved is not None and usable else None

    def _usable(self, saved: SavedPrefix, common: int) -> int:
        if common == len(saved.tokens) or not self._runner.needs_snapshots:
            return common
        return max((n for n in saved.snapshots if n <= common), default=0)

    def save(self, slot: Slot, others: list[Slot]) -> None:
        """Save what the ended request in `slot` shared with others, if none of them holds it."""
        tokens = slot.resident[: slot.n_shared]
        if len(tokens) < _LEAST or any(common_prefix(o.held(), tokens) == len(tokens) for o in others):
            return
        if any(common_prefix(saved.tokens, tokens) == len(tokens) for saved in self._prefixes):
            return
        try:
            self._runner.rollback(slot.seq, len(tokens), slot.snapshots.get(len(tokens)))
        except RollbackImpossible:
            return
        slot.keep(len(tokens))
        self._prefixes.append(SavedPrefix(tokens, self._runner.save(slot.seq), slot.snapshots))
        while sum(len(saved.state) for saved in self._prefixes) > _MOST_BYTES:
            del self._prefixes[0]

    def restore(self, saved: SavedPrefix, slot: Slot, n_tokens: int) -> None:
        """Make the sequence of `slot` hold the first tokens of a head. Raises RollbackImpossible."""
        self._prefixes = [other for other in self._prefixes if other is not saved] + [saved]
        self._runner.load(slot.seq, len(saved.tokens), saved.state)
        self._runner.rollback(slot.seq, n_tokens, saved.snapshots.get(n_tokens))
        slot.resident, slot.snapshots = saved.tokens, dict(saved.snapshots)
