"""Where ossctl keeps its files."""

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs


@dataclass(frozen=True)
class Paths:
    """Folders of this user. `OSSCTL_HOME` puts all of them under one folder."""

    state: Path

    @classmethod
    def from_environment(cls) -> "Paths":
        home = os.environ.get("OSSCTL_HOME")
        if home:
            return cls(state=Path(home) / "state")
        return cls(state=platformdirs.user_state_path("ossctl"))
