"""Compile llama-cpp-python for this machine: `python -m ossctl.build [BACKEND]`.

pip alone doesn't know which flags this compiler needs, and silently reuses wheels built with other flags or
for another processor. This package uses the standard library only, so a checkout can run it before anything
is installed.
"""

import shlex
import sys
from collections.abc import Sequence

VERSION = "0.3.36"  # of llama-cpp-python; as in pyproject.toml
REQUIREMENT = f"llama-cpp-python=={VERSION}"


def rebuild_command(*backends: str) -> str:
    """The shell command that rebuilds llama.cpp in this environment, for error messages."""
    return command_line([sys.executable, "-m", __name__, *backends])


def command_line(words: Sequence[str]) -> str:
    """A command as it is typed into a shell of this system."""
    if sys.platform == "win32":
        from subprocess import list2cmdline  # only where it is used: starts stay fast

        return list2cmdline(words)
    return shlex.join(words)
