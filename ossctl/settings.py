"""The folders in which ossctl stores its files."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from ossctl.errors import NoHome


@dataclass(frozen=True)
class Paths:
    """This user's folders. `OSSCTL_HOME` moves all of them into one folder."""

    state: Path
    data: Path
    cache: Path
    config: Path

    @property
    def config_file(self) -> Path:
        """The user's `config.toml`."""
        return self.config / "config.toml"

    @property
    def sessions(self) -> Path:
        """The database of chats."""
        return self.data / "ossctl.db"

    @property
    def history(self) -> Path:
        """The input history of chats."""
        return self.state / "history"

    @property
    def prefixes(self) -> Path:
        """The folder of computed prefixes."""
        return self.cache / "prefixes"

    @property
    def documents(self) -> Path:
        """The folder of indexes of documents."""
        return self.cache / "documents"

    @classmethod
    def from_environment(cls) -> "Paths":
        """Raises NoHome."""
        home = os.environ.get("OSSCTL_HOME")
        if home:
            return cls(*(Path(home) / name for name in ("state", "data", "cache", "config")))
        try:
            folders = (
                platformdirs.user_state_path("ossctl"),
                platformdirs.user_data_path("ossctl"),
                platformdirs.user_cache_path("ossctl"),
                platformdirs.user_config_path("ossctl"),
            )
            # Without a home, old versions of platformdirs leave a `~`.
            return cls(*(folder.expanduser() for folder in folders))
        except RuntimeError:
            raise NoHome from None


def save_crash_report(trace: str) -> Path | None:
    """Write the traceback of an unexpected error to a file and return its path, or None if that fails."""
    try:
        path = Paths.from_environment().state / f"crash-{time.strftime('%Y%m%d-%H%M%S')}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{' '.join(sys.argv[:2])}, Python {sys.version}\n{trace}", "utf-8", "replace")
    except (OSError, NoHome):
        return None
    return path
