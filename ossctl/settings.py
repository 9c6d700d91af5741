"""Where ossctl keeps its files."""

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs


@dataclass(frozen=True)
class Paths:
    """Folders of this user. `OSSCTL_HOME` puts all of them under one folder."""

    state: Path
    data: Path

    @property
    def sessions(self) -> Path:
        """The database of chats."""
        return self.data / "ossctl.db"

    @property
    def history(self) -> Path:
        """What was typed in chats."""
        return self.state / "history"

    @classmethod
    def from_environment(cls) -> "Paths":
        home = os.environ.get("OSSCTL_HOME")
        if home:
            return cls(state=Path(home) / "state", data=Path(home) / "data")
        return cls(platformdirs.user_state_path("ossctl"), platformdirs.user_data_path("ossctl"))
