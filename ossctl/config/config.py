"""The config files that count here, and the names that they define."""

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ossctl.config.file import ConfigFile, dotted, read_file
from ossctl.config.key_lines import Key
from ossctl.config.paths import VARIABLE, config_paths
from ossctl.config.trust import MCP, MODEL, PRESET, restricted
from ossctl.errors import UsageError

DEFAULTS = "defaults"


@dataclass(frozen=True)
class Setting:
    """A value in a config file."""

    file: ConfigFile
    key: Key
    value: Any

    def __str__(self) -> str:
        """`FILE, line N: run.temperature`, for messages."""
        return f"{self.file.where(self.key)}: {dotted(self.key)}"

    def path(self, text: str) -> str:
        """A path in the value, relative to the file's folder; `-` is stdin or stdout.

        Raises UsageError if a project's file names one outside its folder.
        """
        if text == "-":
            return text
        if not self.file.is_project:
            return str(self.file.path.parent / os.path.expanduser(text))  # noqa: PTH111 (never raises)
        if text.startswith("~") or not Path(text).resolve().is_relative_to(Path.cwd().resolve()):
            raise UsageError(f"{self}: {text} is not in the folder of {self.file.path.name}")
        return text


Settings = dict[str, Setting]  # by the option's name


@dataclass(frozen=True)
class Config:
    """The user's file and the project's, each None if there is none."""

    user: ConfigFile | None = None
    project: ConfigFile | None = None

    @property
    def files(self) -> list[ConfigFile]:
        """The files, from the one that gives way to the one that takes precedence."""
        return [file for file in (self.user, self.project) if file is not None]

    def names(self, kind: str) -> list[str]:
        """The names of the models, presets or MCP servers that the files define."""
        return [*dict.fromkeys(name for file in self.files for name in file.table((kind,)))]

    def settings(self, *key: str) -> Iterator[Settings]:
        """The settings of a section in each file that has it, without its subsections."""
        for file in self.files:
            yield settings_in(file, key)

    def model_chain(self, name: str) -> list[str]:
        """`name` and, if it is an alias, what it stands for, step by step. Raises UsageError for a cycle."""
        chain = [name]
        while (setting := self._alias(chain[-1])) is not None and setting.value != chain[-1]:
            if not isinstance(setting.value, str):
                raise UsageError(f"{setting}: {setting.value!r} is not the name of a model")
            if setting.value in chain:
                raise UsageError(
                    f"{setting}: the aliases form a cycle: {' -> '.join([*chain, setting.value])}"
                )
            chain.append(setting.value)
        return chain

    def preset_chain(self, names: Iterable[str]) -> list[str]:
        """The presets to apply, each after those that it builds on. Raises UsageError."""
        chain: list[str] = []
        for name in names:
            self._add_preset(name, chain, ())
        return chain

    def preset(self, name: str) -> Settings:
        """The settings of one preset, without those that it builds on."""
        merged: Settings = {}
        for settings in self.settings(PRESET, name):
            merged |= settings
        return {option: setting for option, setting in merged.items() if option != PRESET}

    def server(self, name: str) -> tuple[Mapping[str, Any], str] | None:
        """The table of an MCP server and where it is, None if there is no such server."""
        for file in reversed(self.files):
            if name in file.table((MCP,)):
                return file.table((MCP, name)), f"{file.where((MCP, name))}: {dotted((MCP, name))}"
        return None

    def aliases(self) -> dict[str, Setting]:
        """What each alias stands for: another name than its own."""
        found = {name: setting for name in self.names(MODEL) if (setting := self._alias(name))}
        return {name: setting for name, setting in found.items() if setting.value != name}

    def _alias(self, name: str) -> Setting | None:
        found = [settings[MODEL] for settings in self.settings(MODEL, name) if MODEL in settings]
        return found[-1] if found else None

    def _add_preset(self, name: str, chain: list[str], within: tuple[str, ...]) -> None:
        if name in within:
            setting = self._bases(within[-1])[1]
            raise UsageError(f"{setting}: the presets form a cycle: {' -> '.join([*within, name])}")
        known = self.names(PRESET)
        if name not in known:
            where = f"{self._bases(within[-1])[1]}: " if within else ""
            raise UsageError(f"{where}there is no preset {name}", _suggestion(name, known))
        for base in self._bases(name)[0]:
            self._add_preset(base, chain, (*within, name))
        if name not in chain:
            chain.append(name)

    def _bases(self, name: str) -> tuple[list[str], Setting | None]:
        found = [settings[PRESET] for settings in self.settings(PRESET, name) if PRESET in settings]
        if not found:
            return [], None
        value = found[-1].value
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
            raise UsageError(f"{found[-1]}: {value!r} is neither the name of a preset nor a list of names")
        return names, found[-1]


def settings_in(file: ConfigFile, key: Key) -> Settings:
    """The settings of a section of `file`."""
    return {name: Setting(file, (*key, name), value) for name, value in file.table(key).items()}


def load_config() -> Config:
    """Read the files that there are. Raises UsageError."""
    user_path, project_path = config_paths()
    if user_path is None:
        return Config()
    user, project = read_file(user_path), read_file(project_path, is_project=True)
    if os.environ.get(VARIABLE) and user is None:
        raise UsageError(f"cannot read {user_path}: No such file or directory", f"{VARIABLE} names it.")
    return Config(user, None if project is None else restricted(project, user))


def nearest(name: str, known: Iterable[str]) -> str:
    """`Did you mean …?`, or "" if nothing is similar."""
    near = difflib.get_close_matches(name, [*known], n=2)
    return f"Did you mean {' or '.join(near)}?" if near else ""


def _suggestion(name: str, presets: list[str]) -> str:
    if not presets:
        return "Presets are set in config files: `ossctl config edit` opens one."
    return f"{nearest(name, presets)} Presets: {', '.join(presets)}.".strip()
