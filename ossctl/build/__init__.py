"""Compile llama-cpp-python for this machine: `python -m ossctl.build [BACKEND]`.

pip alone doesn't know which flags this compiler needs, and silently reuses wheels built with other flags or
for another processor. This package uses the standard library only, so a checkout can run it before anything
is installed.
"""

import shlex
import sys

VERSION = "0.3.36"  # of llama-cpp-python; as in pyproject.toml
REQUIREMENT = f"llama-cpp-python=={VERSION}"


def rebuild_command(*backends: str) -> str:
    """The shell command that rebuilds llama.cpp in this environment, for error messages."""
    return shlex.join([sys.executable, "-m", __name__, *backends])
