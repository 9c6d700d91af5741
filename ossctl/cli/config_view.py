"""What `ossctl config show` shows: every value, and where it is from."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ossctl.cli.config_keys import ConfigKeys, keys_of, options_of
from ossctl.cli.configured import Applied
from ossctl.cli.options import source_of
from ossctl.config.config import Config, Setting
from ossctl.config.file import ConfigFile, dotted
from ossctl.config.key_lines import Key
from ossctl.config.secrets import without_secrets


@dataclass(frozen=True)
class Shown:
    """One value. `note` says if it does not count."""

    key: str
    value: Any
    origin: str
    note: str = ""

    @property
    def row(self) -> tuple[str, str, str]:
        value = "" if self.value is None else literal(self.value)
        return self.key, value, f"{self.origin}{f' ({self.note})' if self.note else ''}"

    @property
    def record(self) -> dict[str, Any]:
        return {"key": self.key, "value": self.value, "origin": self.origin, "note": self.note or None}


def literal(value: Any) -> str:
    """A value as TOML has it, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{dotted((name,))} = {literal(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (str, bool)) else str(value)


def in_files(keys: ConfigKeys, config: Config) -> Iterator[Shown]:
    """Every value of the files."""
    for file in config.files:
        for key, value in keys_of(keys, file):
            yield Shown(
                dotted(key), shown_value(keys, key, value), file.where(key), _note(keys, config, file, key)
            )


def in_environment(keys: ConfigKeys) -> Iterator[Shown]:
    """Every variable of an option that is set."""
    seen = set()
    for options in keys.commands.values():
        for name, option in options.items():
            value = os.environ.get(option.envvar or "")
            if value and option.envvar not in seen:
                seen.add(option.envvar)
                yield Shown(name, without_secrets((name,), value, is_option=True), str(option.envvar))


def of_command(context: Any, applied: Applied) -> Iterator[Shown]:
    """Every option of a command, whose lenient context this is, as it would count."""
    for name, option in options_of(context.command).items():
        kind = source_of(context, option.name)
        setting = applied.setting(option.name, kind)
        if setting is not None:
            yield Shown(name, _of_setting(setting), str(setting))
        elif kind == "ENVIRONMENT":
            value = os.environ.get(option.envvar or "")
            yield Shown(name, without_secrets((name,), value, is_option=True), str(option.envvar))
        elif kind == "COMMANDLINE":
            yield Shown(name, _plain(context.params.get(option.name)), "the command line")
        else:
            yield Shown(name, _plain(option.default), "the default")


def shown_value(keys: ConfigKeys, key: Key, value: Any) -> Any:
    """A value of a file without secrets."""
    return _plain(without_secrets(key, value, is_option=keys.knows(key) and key[0] != "mcp"))


def _note(keys: ConfigKeys, config: Config, file: ConfigFile, key: Key) -> str:
    if not keys.knows(key):
        return "unknown"
    if key in file.withheld or key[:1] in file.withheld or key[:2] in file.withheld:
        return "ignored: this folder is not trusted"
    project = config.project
    if file is config.user and project and key in [other for other, _ in keys_of(keys, project)]:
        return "" if key in project.withheld else f"overridden by {project.where(key)}"
    return ""


def _of_setting(setting: Setting) -> Any:
    return _plain(without_secrets(setting.key, setting.value, is_option=True))


def _plain(value: Any) -> Any:
    """A value that JSON has."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
