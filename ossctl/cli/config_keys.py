"""The keys of config files: the long names of the commands' options, and how their values are given."""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from ossctl.config.config import DEFAULTS, Setting, nearest
from ossctl.config.file import ConfigFile, dotted
from ossctl.config.key_lines import Key
from ossctl.config.trust import MCP, MODEL, PRESET, TRUSTED
from ossctl.errors import UsageError

Options = Mapping[str, Any]  # Typer's options by their long names

# Options of the program itself, and those that only make sense on a command line.
_NEVER = {"help", "version", "install-completion", "show-completion", "preset"}
# Options with another meaning in each command, or which only this command should have.
_NOT_SHARED = {"file", "json", "limit", "n", "output", "overwrite", "resume", "yes"}
_SERVER_KEYS = ("command", "args", "env", "cwd", "url", "headers", "type", "tools", "allow", "disabled")

_MAX_COUNT = 9  # of an option that is repeated, such as -vv

# Metavars of options whose value is a path, or may be one after an @.
_PATHS = {"FILE", "DIR", "DIR[:rw]", "FILE|off"}
_TEXT_OR_FILE = {"TEXT|@FILE", "TEMPLATE|@FILE"}
_JSON_OR_FILE = "JSON|FILE"


class ConfigKeys:
    """The keys that config files may have, from the commands of `program`, which is Typer's group."""

    def __init__(self, program: Any) -> None:
        self.commands = {words: options_of(command) for words, command in _commands(program)}

    @cached_property
    def shared(self) -> Options:
        """The options that `[defaults]`, `[model.NAME]` and, with others, `[preset.NAME]` may have."""
        found: dict[str, list[Any]] = {}
        for options in self.commands.values():
            for name, option in options.items():
                found.setdefault(name, []).append(option)
        return {
            name: options[0]
            for name, options in found.items()
            if len(options) > 1 and name not in _NOT_SHARED and all(each.opts for each in options)
        }

    @cached_property
    def of_presets(self) -> Options:
        """The options that a preset may set: those of every command that takes one."""
        found: dict[str, Any] = {}
        for words in (("chat",), ("batch",), ("run",)):
            found |= self.commands.get(words, {})
        return {name: option for name, option in found.items() if name not in _NOT_SHARED - {"n", "file"}}

    def section(self, key: Key) -> Options | None:
        """The options that a section may have; None if there is no such section."""
        if key == (DEFAULTS,):
            return self.shared
        if len(key) == 2 and key[0] == MODEL:
            return self.shared
        if len(key) == 2 and key[0] == PRESET:
            return self.of_presets
        return self.commands.get(key)

    def option(self, key: Key) -> tuple[Any, Key]:
        """The option that `key` sets, or a part of it, and the option's own key.

        Raises UsageError, with the nearest key, if there is none.
        """
        for length in range(len(key), 1, -1):
            options = self.section(key[: length - 1])
            if options is not None and key[length - 1] in options:
                return options[key[length - 1]], key[:length]
        raise UsageError(f"unknown key {dotted(key)}", self.suggestion(key))

    def unknown(self, file: ConfigFile) -> Iterator[tuple[Key, str]]:
        """The keys of a file that mean nothing, each with a suggestion or ""."""
        for key, _ in keys_of(self, file):
            if not self.knows(key):
                yield key, self.suggestion(key)

    def knows(self, key: Key) -> bool:
        """Whether `key` is that of an option, or of something else that files may have."""
        if key == (TRUSTED,) or (len(key) == 3 and key[0] == MCP and key[2] in _SERVER_KEYS):
            return True
        options = self.section(key[:-1]) or {}
        return key[-1] in options or (len(key) == 3 and key[0] == key[2] == PRESET)

    def is_section(self, key: Key) -> bool:
        """Whether a table at `key` contains keys, rather than being a value."""
        if key[0] == MCP:
            return len(key) <= 2
        if self.section(key) is not None or key in ((MODEL,), (PRESET,)):
            return True
        return any(words[: len(key)] == key for words in self.commands)

    def suggestion(self, key: Key) -> str:
        """What the user may have meant, or ""."""
        options = self.section(key[:-1])
        if names_table(key):
            return f"Write [{dotted(key)}]."
        if options is None and key[0] == MCP:
            return nearest(key[-1], _SERVER_KEYS)
        if options is None:
            sections = [DEFAULTS, MODEL, PRESET, MCP, *(".".join(words) for words in self.commands)]
            if len(key) == 1 and key[0] in self.shared:
                return f"It belongs in a section: {DEFAULTS}.{key[0]}."
            return nearest(".".join(key[:-1]) or key[0], sections)
        if key[:-1] == (DEFAULTS,) and any(key[-1] in each for each in self.commands.values()):
            words = next(words for words, each in self.commands.items() if key[-1] in each)
            return f"It belongs in the section of a command: {dotted((*words, key[-1]))}."
        return nearest(key[-1], options)


def names_table(key: Key) -> bool:
    """Whether `key` is that of a model, a preset or an MCP server, which has to be a table."""
    return len(key) == 2 and key[0] in (MODEL, PRESET, MCP)


def options_of(command: Any) -> dict[str, Any]:
    """The options of a command by their long names, without the dashes."""
    named = {
        opt.removeprefix("--"): option
        for option in command.params
        if option.param_type_name == "option"
        for opt in option.opts
        if opt.startswith("--")
    }
    return {name: option for name, option in named.items() if name not in _NEVER}


def as_given(option: Any, setting: Setting) -> Any:
    """The value of a setting as the command line would give it to Typer.

    That is text, a list of texts, or the bool of a switch. Paths are relative to the file's folder. Raises
    UsageError.
    """
    value = setting.value
    if option.is_flag:
        if not isinstance(value, bool):
            raise UsageError(f"{setting}: {value!r} is neither true nor false")
        return value
    if isinstance(value, dict):
        if not _takes_pairs(option):
            raise UsageError(f"{setting} is a table, but expected {_expected(option)}")
        value = [f"{name}={_json(each)}" for name, each in value.items()]
    if option.count:
        if type(value) is not int or not 0 <= value <= _MAX_COUNT:
            raise UsageError(f"{setting}: {value!r} is not a whole number from 0 to {_MAX_COUNT}")
        return value
    if option.multiple:
        return [_text(option, setting, each) for each in (value if isinstance(value, list) else [value])]
    if isinstance(value, list):
        raise UsageError(f"{setting} is a list, but expected {_expected(option)}")
    return _text(option, setting, value)


def merges(option: Any) -> bool:
    """Whether tables of an option in several sections are combined."""
    return _takes_pairs(option)


def _takes_pairs(option: Any) -> bool:
    return bool(option.multiple and (option.metavar or "").startswith("NAME="))


def _expected(option: Any) -> str:
    return f"a value such as {option.metavar}" if option.metavar else "a single value"


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _text(option: Any, setting: Setting, value: Any) -> str:
    if isinstance(value, (dict, list)):
        raise UsageError(f"{setting}: {value!r} is not a text or a number")
    text = value if isinstance(value, str) else json.dumps(value, default=str).strip('"')
    metavar = option.metavar or ""
    if metavar == "NAME=FILE":
        name, equals, path = text.partition("=")
        return f"{name}{equals}{setting.path(path)}" if equals else text
    if metavar in _TEXT_OR_FILE and text.startswith("@"):
        return f"@{setting.path(text[1:])}"
    if metavar == _JSON_OR_FILE and text and not text.lstrip().startswith(("{", "[")):
        return setting.path(text)
    return setting.path(text) if text and metavar in _PATHS else text


def _commands(group: Any, words: Key = ()) -> Iterator[tuple[Key, Any]]:
    """All commands, each by its words: `("batch", "status")`."""
    for name, command in group.commands.items():
        full = (*words, *name.split())
        yield from _commands(command, full) if hasattr(command, "commands") else [(full, command)]


def keys_of(keys: ConfigKeys, file: ConfigFile) -> Iterator[tuple[Key, Any]]:
    """The keys of a file's values, also of those that do not count, and the values."""
    return _values(file.written, (), keys.is_section)


def _values(
    table: Mapping[str, Any], at: Key, is_section: Callable[[Key], bool]
) -> Iterator[tuple[Key, Any]]:
    for name, value in table.items():
        key = (*at, name)
        if isinstance(value, dict) and is_section(key):
            yield from _values(value, key, is_section)
        else:
            yield key, value
