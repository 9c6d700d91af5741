"""One config file: its values, and on which lines they are."""

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ossctl.config.key_lines import Key, key_lines
from ossctl.errors import UsageError

_MAX_BYTES = 4 * 1024 * 1024
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_AT_LINE = re.compile(r"(?P<what>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)", re.DOTALL)


@dataclass(frozen=True)
class ConfigFile:
    """A config file that was read.

    If `is_project`, it belongs to the current folder, and `values` lacks the keys `withheld`, which it may
    not set; `written` has them.
    """

    path: Path
    values: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    is_project: bool = False
    withheld: tuple[Key, ...] = ()

    @functools.cached_property
    def lines(self) -> dict[Key, int]:
        return key_lines(self.text)

    @functools.cached_property
    def written(self) -> dict[str, Any]:
        return parsed(self.text, self.path)

    def line(self, key: Key) -> int | None:
        """The line of `key`, or of the table or value that contains it; None for the file as a whole."""
        parts = (key[:length] for length in range(len(key), 0, -1))
        return next((self.lines[part] for part in parts if part in self.lines), None)

    def where(self, key: Key) -> str:
        """`FILE, line N`."""
        line = self.line(key)
        return f"{self.path}, line {line}" if line else str(self.path)

    def table(self, key: Key) -> Mapping[str, Any]:
        """The table at `key`, empty if there is none. Raises UsageError if it is something else."""
        found: Any = self.values
        for length, part in enumerate(key, 1):
            found = found.get(part, {})
            if not isinstance(found, dict):
                name = dotted(key[:length])
                raise UsageError(f"{self.where(key[:length])}: {name} is not a table", f"Write [{name}].")
        return dict(found)


def read_file(path: Path, *, is_project: bool = False) -> ConfigFile | None:
    """Read a config file; None if there is none. Raises UsageError."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > _MAX_BYTES:
        raise UsageError(f"cannot read {path}: it has more than {_MAX_BYTES // 1024**2} MiB")
    text = decoded(data, path)
    return ConfigFile(path, parsed(text, path), text, is_project)


def decoded(data: bytes, path: Path) -> str:
    """The text of a file, with plain newlines. Raises UsageError."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"cannot read {path}: it is not UTF-8 text, byte 0x{data[error.start]:02x} "
            f"at offset {error.start:,}"
        ) from None
    return text.replace("\r\n", "\n")


def parsed(text: str, path: Path) -> dict[str, Any]:
    """Parse TOML. Raises UsageError, which names the line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f": {error}"
        if found := _AT_LINE.fullmatch(str(error)):
            message = f", line {found['line']}: {found['what']} at column {found['column']}"
    except RecursionError:
        message = ": nested too deeply"
    raise UsageError(f"{path}{message}", "It is not valid TOML. `ossctl config edit` opens it.")


def dotted(key: Key) -> str:
    """A key as TOML writes it."""
    return ".".join(part if _BARE.fullmatch(part) else _quoted(part) for part in key)


def _quoted(part: str) -> str:
    escaped = part.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def key_of(text: str) -> Key:
    """The parts of a key such as `model."qwen3.5".ctx`. Raises UsageError."""
    try:
        found: Any = tomllib.loads(f"{text} = 0") if "\n" not in text and "=" not in text else None
    except tomllib.TOMLDecodeError:
        found = None
    key: list[str] = []
    while isinstance(found, dict) and len(found) == 1:
        ((part, found),) = found.items()
        key.append(part)
    if not key or found != 0:
        raise UsageError(f"{text!r} is not a key", 'For example: run.temperature or model."qwen3.5".ctx.')
    return tuple(key)
