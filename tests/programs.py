"""`ossctl` as other programs find it."""

import os
import sys
from pathlib import Path


def with_ossctl(folder: Path, **variables: str) -> dict[str, str]:
    """An environment whose `ossctl` is this one, its files in `folder`, without the user's settings."""
    script = folder / "bin" / "ossctl"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"#!{sys.executable}\nfrom ossctl.__main__ import main\n\nmain()\n", "utf-8")
    script.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OSSCTL_")}
    path = f"{script.parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "OSSCTL_HOME": str(folder / "home"), "PYTHONUTF8": "1", "PATH": path, **variables}
