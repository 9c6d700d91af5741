"""The files of llama.cpp's libraries: which are loaded, and what made them."""

import re
from importlib.metadata import version
from pathlib import Path

from ossctl.runtime.bindings import lib

_COMPILER = re.compile(rb"(GCC): \([^)\0]*\) ([\d.]+)|(clang) version ([\d.]+)")  # ELF's .comment section


def cpu_library() -> Path:
    """The file with the CPU's kernels; with all of llama.cpp where it is in one."""
    folder = Path(lib._lib._name).parent  # noqa: SLF001
    found = sorted(path for path in folder.glob("*ggml-cpu*") if path.is_file())
    return found[0] if found else Path(lib._lib._name)  # noqa: SLF001


def compiler(library: Path) -> str:
    """The compiler that `library` says it was made by; '' if it does not."""
    found = _COMPILER.search(library.read_bytes())
    return b" ".join(filter(None, found.groups())).decode("ascii", "replace") if found else ""


def bindings_version() -> str:
    """llama-cpp-python's version."""
    return version("llama-cpp-python")
