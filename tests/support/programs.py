"""`ossctl` as other programs find it."""

import functools
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

from ossctl.app.placement.kernel_trial import current_trial
from tests.support.fork_server import can_fork, fork_server

_SCRIPT = """\
#!{python}
from ossctl.__main__ import main

main()
"""
_FORKED = """\
#!{python} -IS
import os, sys

if os.isatty(0):  # a terminal's own signals reach only its own processes
    os.execv({python!r}, [{python!r}, "-P", "-m", "ossctl", *sys.argv[1:]])
sys.path.insert(0, {folder!r})
from fork_client import stand_in

stand_in({address!r})
"""


def with_ossctl(folder: Path, *, forked: bool = False, **variables: str) -> dict[str, str]:
    """An environment whose `ossctl` is this one, its files in `folder`, without the user's settings.

    If `forked`, its process is another than that which a shell starts, but has the same end.
    """
    script = folder / "bin" / "ossctl"
    script.parent.mkdir(exist_ok=True)
    found: dict[str, object] = {"python": sys.executable}
    if forked and can_fork(variables):
        found |= {"folder": str(Path(__file__).parent), "address": fork_server().address}
    script.write_text((_FORKED if "address" in found else _SCRIPT).format_map(found), "utf-8")
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
        current_trial()
        return Path(home, "state", "kernels.json").read_bytes()
