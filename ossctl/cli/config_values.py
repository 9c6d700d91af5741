"""Reads the values that `ossctl config set` is given."""

import tomllib
from pathlib import Path
from typing import Any

import typer

from ossctl.cli.config_check import checked_value, section_problems
from ossctl.cli.config_keys import ConfigKeys, merges
from ossctl.cli.parsed_values import check_parsed
from ossctl.config.config import Setting
from ossctl.config.file import ConfigFile, dotted
from ossctl.config.key_lines import Key
from ossctl.errors import UsageError


def value_for(keys: ConfigKeys, context: typer.Context, path: Path, key: Key, text: str) -> Any:
    """The value for `key` in the file at `path`: one of TOML, else the text. Raises UsageError."""
    parsed = _toml(text)
    if keys.knows(key[:3]) and keys.section(key[:2]) is None and keys.section(key[:1]) is None:
        return parsed if len(key) <= 3 or isinstance(parsed, str) else text  # a server's variables are texts
    option, own = keys.option(key)
    if key != own:  # part of a table
        return parsed
    value = parsed if _fits(option, parsed) else text
    file = ConfigFile(path, is_project=path.name == path.as_posix())
    setting = Setting(file, key, value)
    try:
        checked = checked_value(option, setting, context)
        check_parsed(setting, option.name, checked)
    except UsageError as error:
        raise UsageError(error.message.removeprefix(f"{path}: ")) from None
    for problem in section_problems({option.name: checked}):
        raise UsageError(f"{dotted(key)}: {problem}")
    return value


def _fits(option: Any, value: Any) -> bool:
    """Whether a value of TOML, rather than the text that it is written as, is meant."""
    if option.is_flag:
        return isinstance(value, bool)
    if isinstance(value, list):
        return bool(option.multiple)
    if isinstance(value, dict):
        return merges(option)
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


def _toml(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"] if "\n" not in text else text
    except tomllib.TOMLDecodeError:
        return text
