"""The files of llama.cpp's libraries: which are loaded, and what compiled them."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from ossctl.runtime.bindings import lib

_COMPILER = re.compile(rb"(GCC): \([^)\0]*\) ([\d.]+)|(clang) version ([\d.]+)")  # ELF's .comment section


def cpu_library() -> Path:
    """The file with the CPU's kernels; with all of llama.cpp where it is in one."""
    found = sorted(path for path in _folder().glob("*ggml-cpu*") if path.is_file())
    return found[0] if found else Path(lib._lib._name)  # noqa: SLF001


def fingerprint() -> str:
    """Tells one build from another: the CPU library's hash; of the others, which may be large, the stat."""
    parts = [hashlib.sha256(cpu_library().read_bytes()).hexdigest(), *_others()]
    return " ".join(parts)


def compiler(library: Path) -> str:
    """The compiler that `library` says it was made by; '' if it does not."""
    found = _COMPILER.search(library.read_bytes())
    return b" ".join(filter(None, found.groups())).decode("ascii", "replace") if found else ""


def _others() -> Iterator[str]:
    for path in sorted(_folder().glob("*ggml-*")):
        if "ggml-cpu" not in path.name:
            stat = path.stat()
            yield f"{path.name} {stat.st_size} {stat.st_mtime_ns}"


def _folder() -> Path:
    return Path(lib._lib._name).parent  # noqa: SLF001
