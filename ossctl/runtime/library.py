"""The files of llama.cpp's libraries: which are loaded, and which compiler built them."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from ossctl.runtime.bindings import lib

_COMPILER = re.compile(rb"(GCC): \([^)\0]*\) ([\d.]+)|(clang) version ([\d.]+)")  # ELF's .comment section


def cpu_library() -> Path:
    """The library of CPU kernels, or the single library of a static build."""
    found = sorted(path for path in _folder().glob("*ggml-cpu*") if path.is_file())
    return found[0] if found else Path(lib._lib._name)  # noqa: SLF001


def fingerprint() -> str:
    """Identifies a build: the CPU library's hash, and size and time of the others, which can be large."""
    parts = [hashlib.sha256(cpu_library().read_bytes()).hexdigest(), *_others()]
    return " ".join(parts)


def compiler(library: Path) -> str:
    """The compiler that is recorded in `library`; '' if there is none."""
    found = _COMPILER.search(library.read_bytes())
    return b" ".join(filter(None, found.groups())).decode("ascii", "replace") if found else ""


def _others() -> Iterator[str]:
    for path in sorted(_folder().glob("*ggml-*")):
        if "ggml-cpu" not in path.name:
            stat = path.stat()
            yield f"{path.name} {stat.st_size} {stat.st_mtime_ns}"


def _folder() -> Path:
    return Path(lib._lib._name).parent  # noqa: SLF001
