"""Functions of ggml that llama-cpp-python does not declare."""

import functools
from typing import Any

from ossctl.runtime.bindings import ggml, lib


def function(name: str, result: Any, *arguments: Any) -> Any:
    """The C function `name` with its types set. Raises AttributeError if this build does not have it."""
    found = getattr(_library(name), name)
    found.restype, found.argtypes = result, list(arguments)
    return found


@functools.cache
def _library(name: str) -> Any:
    """The library that has `name`, in the copy which llama.cpp itself uses.

    Wheels contain no symbolic links, so libggml.so and the libggml.so.0 that libllama loads become two
    libraries in memory, each with its own registry of devices. A lookup through libllama finds the right one.
    Windows does not search a library's dependencies, but loads each only once.
    """
    return next((each for each in (lib._lib, ggml) if hasattr(each, name)), lib._lib)  # noqa: SLF001
