"""Shell completion of models and saved chats."""

import glob
from pathlib import Path
from typing import Literal

import typer

from ossctl.errors import UsageError
from ossctl.text import harmless


def complete_model(incomplete: str) -> list[str]:
    """Model names, then matching files and folders."""
    from ossctl.app.library.resolve import known_names

    names = dict.fromkeys([*_configured("model"), *known_names()])
    known = [name for name in names if name.startswith(incomplete)]
    folder, _, start = incomplete.rpartition("/")
    found = _files(folder, start) if incomplete else []
    folders = [f"{path.as_posix()}/" for path in found if path.is_dir()]
    return [*known, *folders, *(path.as_posix() for path in found if path.suffix == ".gguf")]


def complete_preset(incomplete: str) -> list[str]:
    """The presets of the config files."""
    return [name for name in _configured("preset") if name.startswith(incomplete)]


def complete_alias(incomplete: str) -> list[str]:
    """The aliases of the config files."""
    return [name for name in _configured("model") if name.startswith(incomplete)]


def complete_key(context: typer.Context, incomplete: str) -> list[str]:
    """Keys of config files."""
    from ossctl.cli.config_keys import ConfigKeys
    from ossctl.config.file import dotted

    keys = ConfigKeys(context.find_root().command)
    sections = {("defaults",): keys.shared, **keys.commands}
    names = (dotted((*section, option)) for section, options in sections.items() for option in options)
    return [name for name in names if name.startswith(incomplete)]


def complete_models(incomplete: str) -> list[str]:
    """The same for the last of several models that are separated by commas."""
    given, comma, last = incomplete.rpartition(",")
    return [f"{given}{comma}{name}" for name in complete_model(last)]


def complete_task(incomplete: str) -> list[tuple[str, str]]:
    """Tasks of `ossctl eval` with what they are about, then files of questions and folders."""
    from ossctl.app.eval.tasks import NAMED

    known = [(task.name, task.about) for task in NAMED if task.name.startswith(incomplete)]
    folder, _, start = incomplete.rpartition("/")
    found = _files(folder, start) if incomplete else []
    folders = [(f"{path.as_posix()}/", "") for path in found if path.is_dir()]
    return [*known, *folders, *((path.as_posix(), "") for path in found if path.suffix in (".jsonl", ".py"))]


def complete_session(incomplete: str) -> list[tuple[str, str]]:
    """IDs of saved chats and runs, with their titles."""
    return _sessions(incomplete)


def complete_chat(incomplete: str) -> list[tuple[str, str]]:
    """IDs of saved chats, with their titles."""
    return _sessions(incomplete, "chat")


def complete_run(incomplete: str) -> list[tuple[str, str]]:
    """IDs of runs in the log, with their titles."""
    return _sessions(incomplete, "run")


def _sessions(start: str, kind: Literal["chat", "run"] | None = None) -> list[tuple[str, str]]:
    from ossctl.app.sessions.session_log import list_sessions
    from ossctl.settings import Paths

    found = list_sessions(Paths.from_environment().sessions, kind)
    return [(session.id, harmless(session.title)) for session in found if session.id.startswith(start)]


def _files(folder: str, start: str) -> list[Path]:
    try:
        return sorted(Path(folder or ".").glob(f"{glob.escape(start)}*"))
    except OSError:
        return []


def _configured(kind: str) -> list[str]:
    """The names of one kind in the config files; none if these cannot be read."""
    from ossctl.config.config import load_config

    try:
        return [harmless(name) for name in load_config().names(kind)]
    except UsageError:
        return []
