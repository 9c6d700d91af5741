"""Computed prefixes on disk, for the engine of one loaded model."""

import shutil
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cached_property
from pathlib import Path

from ossctl.app.placement.computed_by import state_key
from ossctl.engine.prefix_disk import DiskPrefix, SavedPrefix
from ossctl.planning.machine import MIB
from ossctl.planning.plan import Plan
from ossctl.runtime.base import Snapshot, Tokens
from ossctl.settings import Paths
from ossctl.storage.prefix_cache import Found, PrefixCache
from ossctl.storage.prefix_file import ComputedPrefix

MAX_BYTES = 32 * 1024 * MIB
_SHARE_OF_FREE = 0.1  # of the disk, that the cache may use by default
_MAX_PENDING = 2  # states that wait to be written, each up to gigabytes of RAM


class DiskPrefixes:
    """The prefixes of one model, loaded by `plan`, in a cache of `max_bytes` for all models together.

    Reads on the engine's thread and writes on its own.
    """

    def __init__(self, path: Path, name: str, plan: Plan, *, any_length: bool, max_bytes: int | None) -> None:
        self._path, self._name, self._plan = path, name, plan
        self._any_length = any_length
        self._max_bytes = max_bytes
        self._writer = ThreadPoolExecutor(1, "prefix-writer")
        self._pending: list[Future[bool]] = []

    def find(self, prompt: Tokens) -> DiskPrefix | None:
        found = self._cache.find(prompt) if self._cache else None
        return DiskPrefix(found.n_tokens, found) if found is not None else None

    def load(self, found: DiskPrefix) -> SavedPrefix | None:
        if not isinstance(found.entry, Found):
            raise TypeError(f"not an entry of this disk: {found.entry}")
        prefix = self._cache.load(found.entry) if self._cache else None
        if self._cache is None or prefix is None:
            return None
        self._writer.submit(self._cache.touch, found.entry)
        snapshots = {n: Snapshot(n, data) for n, data in prefix.snapshots.items()}
        return SavedPrefix(prefix.tokens, prefix.state, snapshots)

    @property
    def busy(self) -> bool:
        self._pending = [each for each in self._pending if not each.done()]
        return len(self._pending) >= _MAX_PENDING

    def save(self, prefix: SavedPrefix, conversation: str) -> None:
        if self._cache is None:
            return
        if self.busy:
            wait(self._pending, return_when=FIRST_COMPLETED)
        snapshots = {n: snapshot.data for n, snapshot in prefix.snapshots.items()}
        computed = ComputedPrefix(prefix.tokens, prefix.state, snapshots, self._any_length)
        self._pending.append(self._writer.submit(self._cache.save, computed, conversation))

    def close(self) -> None:
        """Wait for what is being written, and keep a limit that the user has set."""
        if self._max_bytes is not None and self._cache is not None:
            self._writer.submit(self._cache.shrink)
        self._writer.shutdown()

    @cached_property
    def _cache(self) -> PrefixCache | None:
        """None if it has no space, or the model's files are gone."""
        folder = Paths.from_environment().prefixes
        try:
            limit = default_size(folder) if self._max_bytes is None else self._max_bytes
            return (
                PrefixCache(folder, state_key(self._path, self._plan.settings), self._name, limit)
                if limit
                else None
            )
        except OSError:
            return None


def default_size(folder: Path) -> int:
    """The default limit in bytes: a share of the free disk, at most MAX_BYTES. Raises OSError."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return min(MAX_BYTES, int(shutil.disk_usage(existing).free * _SHARE_OF_FREE))
