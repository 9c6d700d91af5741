"""Changes config files: comments and order are kept, and two programs that write lose nothing."""

import copy
import tomllib
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Protocol

from ossctl.config.file import decoded, dotted, parsed
from ossctl.config.key_lines import Key
from ossctl.errors import OssctlError, UsageError
from ossctl.settings import Paths
from ossctl.storage.atomic import atomic_write, create_file
from ossctl.storage.lock import try_lock

_LOCK_SECONDS = 10.0  # a write takes milliseconds
_RETRY_SECONDS = 0.02
_PRIVATE = 0o600  # the file may contain secrets

Table = MutableMapping[str, Any]


class Change(Protocol):
    """A change of a file's tables."""

    def __call__(self, root: Table, new_table: "NewTable") -> None: ...


class NewTable(Protocol):
    """Makes a table; one that has only subtables gets no header."""

    def __call__(self, *, only_subtables: bool) -> Table: ...


def set_value(path: Path, key: Key, value: Any) -> None:
    """Set one key. Creates the file if need be. Raises OssctlError."""

    def change(root: Table, new_table: NewTable) -> None:
        table = _table(root, key[:-1], path, new_table)
        table[key[-1]] = value

    _edit(path, change)


def unset_value(path: Path, key: Key) -> bool:
    """Remove a key, and its table if that has become empty. Returns whether it was set.

    Raises OssctlError.
    """
    removed = False

    def change(root: Table, new_table: NewTable) -> None:  # noqa: ARG001
        nonlocal removed
        tables = [root]
        for part in key[:-1]:
            if not isinstance(tables[-1].get(part), MutableMapping):
                return
            tables.append(tables[-1][part])
        removed = tables[-1].pop(key[-1], None) is not None
        for parent, table, part in reversed([*zip(tables, tables[1:], key, strict=False)]):
            if table or _has_comments(table):
                break
            del parent[part]

    _edit(path, change)
    return removed


def put_table(path: Path, key: Key, values: Mapping[str, Any], *, replace: bool) -> None:
    """Write a whole section. Raises UsageError if it exists and is not to be replaced, OssctlError."""

    def change(root: Table, new_table: NewTable) -> None:
        parent = _table(root, key[:-1], path, new_table, only_subtables=True)
        if key[-1] in parent and not replace:
            raise UsageError(f"{path} has a section {dotted(key)}", "--overwrite replaces it.")
        table = new_table(only_subtables=False)
        table.update(values)
        parent[key[-1]] = table

    _edit(path, change)


def _edit(path: Path, change: Change) -> None:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    def styled_table(*, only_subtables: bool) -> Table:
        return tomlkit.table(is_super_table=only_subtables)

    with _locked():
        text = _text(path)
        expected: dict[str, Any] = copy.deepcopy(parsed(text.replace("\r\n", "\n"), path))
        change(expected, lambda *, only_subtables: {})  # noqa: ARG005 (a plain table has no header)
        try:
            document = tomlkit.parse(text)
            change(document, styled_table)
            changed = tomlkit.dumps(document)
            if "\r\n" in text:
                changed = changed.replace("\r\n", "\n").replace("\n", "\r\n")
            is_right = tomllib.loads(changed.replace("\r\n", "\n")) == expected
        except (TOMLKitError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError):
            is_right = False
        if not is_right:
            hint = "`ossctl config edit` opens the file; it is unchanged."
            raise OssctlError(f"cannot make this change in {path} and keep its layout", hint)
        if changed != text:
            _write(path, changed)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    decoded(data, path)
    return data.decode("utf-8-sig")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            create_file(path.resolve(), _PRIVATE).close()
    except OSError as error:
        raise OssctlError(f"cannot write {path}: {error.strerror}") from None
    atomic_write(path, text.encode())


def _table(root: Table, key: Key, path: Path, new_table: NewTable, *, only_subtables: bool = False) -> Table:
    """The table at `key`, which is created if need be. Raises UsageError if a value is there."""
    table = root
    for length, part in enumerate(key, 1):
        if part not in table:
            table[part] = new_table(only_subtables=only_subtables or length < len(key))
        table = table[part]
        if not isinstance(table, MutableMapping):
            raise UsageError(f"{path}: {dotted(key[:length])} is not a table")
    return table


def _has_comments(table: Table) -> bool:
    text = table.as_string() if hasattr(table, "as_string") else ""
    return "#" in text


@contextmanager
def _locked() -> Iterator[None]:
    """Hold the lock for writing config files. Raises OssctlError."""
    path = Paths.from_environment().state / "config.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            give_up = monotonic() + _LOCK_SECONDS
            while not try_lock(file):
                if monotonic() > give_up:
                    raise OssctlError("another program has been writing the config for too long")
                sleep(_RETRY_SECONDS)
            yield
    except OSError as error:
        raise OssctlError(f"cannot write {path}: {error.strerror}") from None
