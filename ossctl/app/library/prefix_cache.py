"""The cache of computed prefixes on disk, as `ossctl cache` shows and clears it."""

import sqlite3
from collections.abc import Sequence

from ossctl.app.library.resolve import locate
from ossctl.app.placement.shapes import shape_of_file
from ossctl.errors import ModelError, OssctlError, UsageError
from ossctl.settings import Paths
from ossctl.storage import prefix_cache
from ossctl.storage.prefix_index import CacheEntry

__all__ = ["CacheEntry", "cached_prefixes", "clear_cache"]


def cached_prefixes(model: str | None = None) -> list[CacheEntry]:
    """The entries of the model that `-m` means, or all, most recently used first. Raises UsageError."""
    found = prefix_cache.entries(Paths.from_environment().prefixes)
    name = _name_of(model, found)
    return [each for each in found if name in (None, each.model)]


def clear_cache(*, model: str | None = None, owner: str | None = None) -> int:
    """Delete the entries of a model or a chat, or all. Returns the bytes freed. Raises OssctlError."""
    folder = Paths.from_environment().prefixes
    name = _name_of(model, prefix_cache.entries(folder))
    try:
        return prefix_cache.clear(folder, model=name, owner=owner)
    except (OSError, sqlite3.Error) as error:
        raise OssctlError(f"cannot clear {folder}: {error}") from None


def _name_of(model: str | None, entries: Sequence[CacheEntry]) -> str | None:
    """The name in the cache of a model that is given by this name or as it is loaded."""
    if model is None or any(each.model == model for each in entries):
        return model
    try:
        return shape_of_file(locate(model).first).name
    except ModelError:
        hint = "`ossctl cache list` shows the names."
        raise UsageError(f"no model called {model} is on this machine or in the cache", hint) from None
