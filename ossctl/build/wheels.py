"""Wheels of llama-cpp-python that were compiled here, each under its recipe's key."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ossctl.build.errors import BuildError
from ossctl.build.recipe import Recipe

_KEPT = 4  # of some 10 MB for a CPU, hundreds for CUDA


@dataclass(frozen=True)
class BuildOrigin:
    """A build that was made here: how, and when (an ISO date)."""

    recipe: Recipe
    date: str


def is_compiled(recipe: Recipe) -> bool:
    """Whether there is a wheel of this recipe already."""
    return _wheel(recipe) is not None


def install(recipe: Recipe) -> None:
    """Install the wheel of this recipe into this environment; compile it first if need be.

    Raises BuildError.
    """
    wheel = _wheel(recipe) or _compile(recipe)
    _pip(["install", "--no-cache-dir", "--no-deps", "--force-reinstall", str(wheel)], os.environ)


def origin_of(library: Path) -> BuildOrigin | None:
    """The build that `library`, one of its files, came from; None if it was not made here."""
    digest = hashlib.sha256(library.read_bytes()).hexdigest()
    for path in _folder().glob("*/build.json"):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if digest in record["libraries"]:
                return BuildOrigin(_recipe(record["recipe"]), record["date"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _recipe(record: dict[str, object]) -> Recipe:
    lists = {name: tuple(value) for name, value in record.items() if isinstance(value, list)}
    return Recipe(**{**record, **lists})  # type: ignore[arg-type]


def _folder() -> Path:
    home = os.environ.get("OSSCTL_HOME")
    return (Path(home, "cache") if home else _user_cache() / "ossctl") / "wheels"


def _user_cache() -> Path:
    """The user's folder for caches; platformdirs may not be installed yet."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _wheel(recipe: Recipe) -> Path | None:
    return next((_folder() / recipe.key).glob("*.whl"), None)


def _compile(recipe: Recipe) -> Path:
    """The new wheel; its folder is there whole or not at all."""
    folder = _folder() / recipe.key
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary, "made")
        line = ["wheel", "-v", "--no-cache-dir", "--no-deps", "--no-binary", "llama-cpp-python"]
        _pip([*line, "-w", str(made), recipe.requirement], recipe.environment, folder.parent / "build.log")
        wheel = next(made.glob("*.whl"))
        record = {"recipe": asdict(recipe), "date": time.strftime("%Y-%m-%d"), "libraries": _libraries(wheel)}
        Path(made, "build.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    _forget_the_oldest()
    return folder / wheel.name


def _libraries(wheel: Path) -> list[str]:
    """The sha256 of each library in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if "/lib/" in name]
        return sorted({hashlib.sha256(archive.read(name)).hexdigest() for name in names})


def _forget_the_oldest() -> None:
    records = sorted(_folder().glob("*/build.json"), key=lambda path: path.stat().st_mtime)
    for record in records[:-_KEPT]:
        shutil.rmtree(record.parent, ignore_errors=True)


def _pip(arguments: Sequence[str], environment: Mapping[str, str], log: Path | None = None) -> None:
    """Run pip, with what it says in `log`. Raises BuildError with its reason."""
    line = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(  # noqa: S603
        line,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if log is not None:
        log.write_text(done.stdout, encoding="utf-8")
    if done.returncode == 0:
        return
    if "No module named pip" in done.stdout:
        fix = f"`{shlex.join([sys.executable, '-m', 'ensurepip'])}` adds it."
        raise BuildError("this Python has no pip", fix)
    raise BuildError(
        reason(done.stdout), f"The whole log is {log}" if log else f"The command was {shlex.join(line)}"
    )


def reason(output: str) -> str:
    """The line of what pip and a compiler said that tells what went wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for pattern in (r"fatal error:|\berror: (?!subprocess|command)|^CMake Error", r"^ERROR: "):
        for number, line in enumerate(lines):
            if re.search(pattern, line):
                rest = lines[number + 1 : number + 2] if line.endswith(":") else []  # CMake begins a new line
                return " ".join(["the build of llama.cpp failed:", line, *rest])
    return "the build of llama.cpp failed"
