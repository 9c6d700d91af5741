"""The cache of computed prefixes on disk, as `ossctl cache` shows and clears it."""

import sqlite3

from ossctl.errors import OssctlError
from ossctl.settings import Paths
from ossctl.storage import prefix_cache
from ossctl.storage.prefix_index import CacheEntry

__all__ = ["CacheEntry", "cached_prefixes", "clear_cache"]


def cached_prefixes() -> list[CacheEntry]:
    """All entries, most recently used first."""
    return prefix_cache.entries(Paths.from_environment().prefixes)


def clear_cache(*, model: str | None = None, owner: str | None = None) -> int:
    """Delete the entries of a model or a chat, or all. Returns the bytes freed. Raises OssctlError."""
    folder = Paths.from_environment().prefixes
    try:
        return prefix_cache.clear(folder, model=model, owner=owner)
    except (OSError, sqlite3.Error) as error:
        raise OssctlError(f"cannot clear {folder}: {error}") from None
