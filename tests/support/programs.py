"""`ossctl` as other programs find it."""

import functools
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

from ossctl.app.placement.kernel_trial import tried_kernels


def with_ossctl(folder: Path, **variables: str) -> dict[str, str]:
    """An environment whose `ossctl` is this one, its files in `folder`, without the user's settings."""
    script = folder / "bin" / "ossctl"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"#!{sys.executable}\nfrom ossctl.__main__ import main\n\nmain()\n", "utf-8")
    script.chmod(0o755)
    share_trial(folder / "home")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OSSCTL_")}
    path = f"{script.parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "OSSCTL_HOME": str(folder / "home"), "PYTHONUTF8": "1", "PATH": path, **variables}


def share_trial(home: Path) -> None:
    """Spare the program whose files are in `home` the trial of llama.cpp's kernels: it was made for all."""
    state = home / "state"
    with suppress(OSError):  # a home that cannot be written is the test's own affair
        state.mkdir(parents=True)
        (state / "kernels.json").write_bytes(_tried())


@functools.cache
def _tried() -> bytes:
    with tempfile.TemporaryDirectory() as home, patch.dict(os.environ, {"OSSCTL_HOME": home}):
        tried_kernels()
        return Path(home, "state", "kernels.json").read_bytes()
