"""Compiling llama-cpp-python for this machine: `python -m ossctl.build [BACKEND]`.

pip alone gets three things wrong: it can't tell which flags this compiler needs, it reuses a wheel that it
built with other flags or for another processor, and it says neither. This needs nothing but the standard
library, so it runs from a checkout before anything is installed.
"""

import shlex
import sys

VERSION = "0.3.36"  # of llama-cpp-python; as in pyproject.toml
REQUIREMENT = f"llama-cpp-python=={VERSION}"


def command(*backends: str) -> str:
    """What rebuilds llama.cpp in this environment, for error messages."""
    return shlex.join([sys.executable, "-m", __name__, *backends])
