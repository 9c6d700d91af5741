"""The help texts in README.md: `python tests/readme_help.py` writes them, a test compares them."""

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"

# <!-- help: batch --> … <!-- end of help --> holds what `ossctl batch --help` prints
_BLOCK = re.compile(r"(<!-- help: (?P<command>[a-z ]*?) *-->\n).*?(<!-- end of help -->)", re.DOTALL)


def with_help(text: str) -> str:
    """`text` with every block as the program prints it now."""
    return _BLOCK.sub(_printed, text)


def _printed(match: re.Match[str]) -> str:
    command = [sys.executable, "-m", "ossctl", *match["command"].split(), "--help"]
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONUTF8": "1"}
    for name in [name for name in environment if name.startswith("OSSCTL_")]:
        del environment[name]
    done = subprocess.run(
        command, capture_output=True, check=True, env=environment, encoding="utf-8", stdin=subprocess.DEVNULL
    )
    usage = done.stdout.replace("python -m ossctl", "ossctl").strip()
    return f"{match[1]}```\n{usage}\n```\n{match[3]}"


if __name__ == "__main__":
    README.write_text(with_help(README.read_text(encoding="utf-8")), encoding="utf-8")
