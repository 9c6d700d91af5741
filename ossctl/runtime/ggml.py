"""Functions of ggml that llama-cpp-python does not declare."""

import ctypes
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ossctl.runtime.bindings import ggml, lib


def function(name: str, result: Any, *arguments: Any) -> Any:
    """The C function `name` with its types set. Raises AttributeError if this build does not have it."""
    found = getattr(_library(name), name)
    found.restype, found.argtypes = result, list(arguments)
    return found


def has_function(name: str) -> bool:
    """Whether this build has the C function `name`."""
    return hasattr(_library(name), name)


@functools.cache
def _library(name: str) -> Any:
    """The library that has `name`, in the copy which llama.cpp itself uses; libllama if none has it.

    Wheels contain no symbolic links, so libggml.so and the libggml.so.0 that libllama loads become two
    libraries in memory, each with its own registry of devices. A lookup through libllama finds the right one,
    since it includes the libraries that libllama depends on. Windows searches only one library at a time, but
    loads each only once.
    """
    return next((each for each in _libraries() if hasattr(each, name)), lib._lib)  # noqa: SLF001


def _libraries() -> Iterator[Any]:
    yield lib._lib  # noqa: SLF001
    yield ggml
    if os.name == "nt":  # ggml-base.dll has most, ggml-cpu.dll the computation
        for path in sorted(Path(lib._lib._name).parent.glob("*ggml-*.dll")):  # noqa: SLF001
            yield ctypes.CDLL(str(path))
