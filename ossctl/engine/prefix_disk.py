"""What the engine needs of a disk that keeps computed prefixes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ossctl.runtime.base import Snapshot, Tokens


@dataclass(frozen=True)
class SavedPrefix:
    """The state of a sequence that holds `tokens`, int32 [n]; `snapshots` are of its prefixes, by length."""

    tokens: Tokens
    state: bytes
    snapshots: Mapping[int, Snapshot]

    @property
    def n_bytes(self) -> int:
        """The size of the state and its snapshots."""
        return len(self.state) + sum(len(snapshot.data) for snapshot in self.snapshots.values())


@dataclass(frozen=True)
class DiskPrefix:
    """A prefix on disk that holds the first `n_tokens` tokens of a prompt. `entry` is the disk's own."""

    n_tokens: int
    entry: object


class PrefixDisk(Protocol):
    """Prefixes that outlive the process. No method raises."""

    def find(self, prompt: Tokens) -> DiskPrefix | None:
        """The prefix that holds most of `prompt`."""

    def load(self, found: DiskPrefix) -> SavedPrefix | None:
        """Read a prefix; None if that is not possible any more."""

    @property
    def busy(self) -> bool:
        """Whether `save` would wait for other writes."""

    def save(self, prefix: SavedPrefix, conversation: str) -> None:
        """Write a prefix in the background. It replaces the older ones of a conversation with a name."""
