"""`make carry`: all that installation and checks take on a machine without network, into one folder.

    python -m tools.devices.carry FOLDER [--python-version 3.12]

llama-cpp-python comes as source, without what its build does not read (most of it are test vocabularies and
documents), all else as wheels for this kind of machine. Needs pip and nothing else.
"""

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pip._vendor.packaging.requirements import Requirement

_ROOT = Path(__file__).parents[2]
_SOURCE = "llama-cpp-python"
_MOST = 64 * 1024 * 1024  # bytes of all files together
# What the build backends ask for when they run. CMake has grown by 7 MB since.
_TOOLS = ("editables", "ninja", "cmake>=3.24,<3.26")

# Paths in the source, behind its own folder, that no build reads. Tools stay: llama-server is one of them.
_LLAMA = "vendor/llama.cpp"
_BACKENDS = "cann|et|hexagon|opencl|openvino|sycl|virtgpu|webgpu|zdnn|zendnn"
_UNREAD = re.compile(
    "|".join(
        (
            r"(docs|docker|examples|tests|scripts|\.github)/",
            r"\.git/.*\.(pack|idx|rev|sample)$|\.git/.*/?index$",
            rf"{_LLAMA}/(docs|models|media|tests|examples|benches|conversion|gguf-py|ci|pocs|skills|app)/",
            rf"{_LLAMA}/(grammars|requirements|\.[a-z]+)/",
            rf"{_LLAMA}/scripts/(?!.*\.cmake$)",
            rf"{_LLAMA}/tools/ui/(src|static|tests|scripts|package-lock)",
            rf"{_LLAMA}/ggml/src/ggml-({_BACKENDS})/",
        )
    )
)
_LICENCE = re.compile(r"(^|/)(licen[cs]e|copying|authors)[^/]*$", re.IGNORECASE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python-version", metavar="3.12", help="of the other machine (default: this one's)")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for old in args.folder.iterdir():  # of another version
        old.unlink()
    with tempfile.TemporaryDirectory() as scratch:
        source = _source(Path(scratch))
        needed = [*own_requirements(args.python_version), *_requirements_of(source), *_TOOLS]
        _wheels(args.folder, needed, args.python_version)
        _repack(source, args.folder / source.name)
    size = sum(file.stat().st_size for file in args.folder.iterdir())
    print(f"{args.folder}: {len(list(args.folder.iterdir()))} files, {size / 1024 / 1024:.1f} MiB")
    if size > _MOST:
        sys.exit(f"that is more than {_MOST // 1024 // 1024} MiB")


def _source(folder: Path) -> Path:
    """The source distribution as it was published, in the release that is asked for."""
    (wanted,) = [each for each in _project()["project"]["dependencies"] if each.startswith(_SOURCE)]
    _pip("download", "--no-deps", "--no-binary", ":all:", "-d", str(folder), wanted)
    (found,) = folder.glob("*.tar.gz")
    return found


def own_requirements(python_version: str | None) -> Iterator[str]:
    """Of ossctl, of what builds it and of the checks, without llama.cpp."""
    project = _project()
    yield from project["build-system"]["requires"]
    environment = {"python_version": python_version} if python_version else {}
    for each in (
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["devices"],
    ):
        requirement = Requirement(each)
        marker = requirement.marker  # which pip evaluates for the Python that it runs on
        if requirement.name != _SOURCE and (marker is None or marker.evaluate(environment)):
            yield f"{requirement.name}{requirement.specifier}"


def _requirements_of(source: Path) -> list[str]:
    """What llama-cpp-python needs to be built and to run."""
    with tarfile.open(source) as archive:
        top = archive.getnames()[0].partition("/")[0]
        file = archive.extractfile(f"{top}/pyproject.toml")
        assert file is not None
        project = tomllib.loads(file.read().decode())
    return [*project["build-system"]["requires"], *project["project"]["dependencies"]]


def _wheels(folder: Path, requirements: Sequence[str], python_version: str | None) -> None:
    version = ["--python-version", python_version] if python_version else []
    _pip("download", "--only-binary", ":all:", *version, "-d", str(folder), *requirements)


def _repack(source: Path, target: Path) -> None:
    """Copy the archive without what is not read; licences stay."""
    with tarfile.open(source) as old, tarfile.open(target, "w:gz", compresslevel=9) as new:
        for member in old:
            path = member.name.partition("/")[2]
            if not _UNREAD.match(path) or _LICENCE.search(path):
                new.addfile(member, old.extractfile(member) if member.isfile() else None)


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))
    return project


def _pip(*arguments: str) -> None:
    """Run pip with the network, though a folder that was carried may be the source of all else."""
    kept = {
        name: value for name, value in os.environ.items() if name not in ("PIP_NO_INDEX", "PIP_FIND_LINKS")
    }
    subprocess.run([sys.executable, "-m", "pip", "-q", *arguments], env=kept, check=True)


if __name__ == "__main__":
    main()
