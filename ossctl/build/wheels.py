"""The cache of llama-cpp-python wheels compiled on this machine, keyed by recipe."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ossctl.build import command_line
from ossctl.build.errors import BuildError
from ossctl.build.patches import PATCHES
from ossctl.build.recipe import Recipe

_MAX_WHEELS = 4  # 10 MB each for the CPU, hundreds of MB for CUDA


@dataclass(frozen=True)
class BuildRecord:
    """A build made on this machine: its recipe and ISO date."""

    recipe: Recipe
    date: str


def is_compiled(recipe: Recipe) -> bool:
    """Whether the cache has a wheel of this recipe."""
    return _wheel(recipe) is not None


def install(recipe: Recipe) -> None:
    """Install the wheel of this recipe into this environment, compiling it first if needed.

    Raises BuildError.
    """
    wheel = _wheel(recipe) or _compile(recipe)
    _pip(["install", "--no-cache-dir", "--no-deps", "--force-reinstall", str(wheel)], os.environ)


def find_build(library: Path) -> BuildRecord | None:
    """The build that `library` is part of, if it is in the cache."""
    digest = hashlib.sha256(library.read_bytes()).hexdigest()
    for path in _folder().glob("*/build.json"):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if digest in record["libraries"]:
                return BuildRecord(_recipe(record["recipe"]), record["date"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _recipe(record: dict[str, object]) -> Recipe:
    lists = {name: tuple(value) for name, value in record.items() if isinstance(value, list)}
    return Recipe(**{**record, **lists})  # type: ignore[arg-type]


def _folder() -> Path:
    home = os.environ.get("OSSCTL_HOME")
    try:
        return (Path(home, "cache") if home else _user_cache() / "ossctl") / "wheels"
    except RuntimeError:
        raise BuildError("this user has no home folder", "Set OSSCTL_HOME to a folder for wheels.") from None


def _user_cache() -> Path:
    """The user's cache folder. platformdirs may not be installed yet."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _wheel(recipe: Recipe) -> Path | None:
    return next((_folder() / recipe.key).glob("*.whl"), None)


def _compile(recipe: Recipe) -> Path:
    """Compile a wheel into the cache, where its folder appears only when complete."""
    folder = _folder() / recipe.key
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        output, log = Path(temporary, "output"), folder.parent / "build.log"
        source = _patched_source(recipe, Path(temporary, "source"), log)
        options = ["wheel", "-v", "--no-cache-dir", "--no-deps", "-w", str(output)]
        _pip([*options, str(source)], recipe.environment, log)
        wheel = next(output.glob("*.whl"))
        record = {"recipe": asdict(recipe), "date": time.strftime("%Y-%m-%d"), "libraries": _libraries(wheel)}
        Path(output, "build.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        output.rename(folder)
    _remove_old_wheels()
    return folder / wheel.name


def _patched_source(recipe: Recipe, folder: Path, log: Path) -> Path:
    """Download the release into `folder` and change it; return its source tree."""
    options = ["download", "--no-cache-dir", "--no-deps", "--no-binary", "llama-cpp-python"]
    _pip([*options, "-d", str(folder), recipe.requirement], recipe.environment, log)
    archive = next(folder.glob("*.tar.gz"))
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    source = folder / archive.name.removesuffix(".tar.gz")
    for patch in PATCHES:
        patch.apply(source)
    return source


def _libraries(wheel: Path) -> list[str]:
    """The sha256 of each library in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if "/lib/" in name]
        return sorted({hashlib.sha256(archive.read(name)).hexdigest() for name in names})


def _remove_old_wheels() -> None:
    records = sorted(_folder().glob("*/build.json"), key=lambda path: path.stat().st_mtime)
    for record in records[:-_MAX_WHEELS]:
        shutil.rmtree(record.parent, ignore_errors=True)


def _pip(arguments: Sequence[str], environment: Mapping[str, str], log: Path | None = None) -> None:
    """Run pip with its output in `log`. Raises BuildError."""
    command = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(  # noqa: S603
        command,
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
        fix = f"Run `{command_line([sys.executable, '-m', 'ensurepip'])}` to add it."
        raise BuildError("this Python has no pip", fix)
    where = f"The full log is in {log}" if log else f"The command was {command_line(command)}"
    raise BuildError(failure_summary(done.stdout), where)


def failure_summary(output: str) -> str:
    """One line that says why the build failed, from the output of pip, CMake or the compiler."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for pattern in (r"fatal error:|\berror: (?!subprocess|command)|^CMake Error", r"^ERROR: "):
        for number, line in enumerate(lines):
            if re.search(pattern, line):
                rest = lines[number + 1 : number + 2] if line.endswith(":") else []  # CMake's message follows
                return " ".join(["the build of llama.cpp failed:", line, *rest])
    return "the build of llama.cpp failed"
