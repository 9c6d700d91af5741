"""Where the config files are, without loading a parser."""

import os
from pathlib import Path

from ossctl.settings import Paths

PROJECT_FILE = "ossctl.toml"
VARIABLE = "OSSCTL_CONFIG"  # another file than the user's, or `off`
OFF = "off"


def config_paths() -> tuple[Path | None, Path]:
    """The paths of the user's file, None if no file counts, and of the project's."""
    chosen = os.environ.get(VARIABLE)
    if chosen == OFF:
        return None, Path(PROJECT_FILE)
    return Path(chosen) if chosen else Paths.from_environment().config_file, Path(PROJECT_FILE)


def has_config() -> bool:
    """Whether there may be a config file to read."""
    user, project = config_paths()
    if user is None:
        return False
    return bool(os.environ.get(VARIABLE)) or any(map(os.path.lexists, (user, project)))
