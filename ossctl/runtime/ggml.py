"""Functions of ggml that llama-cpp-python does not declare."""

import functools
from typing import Any

from ossctl.runtime.bindings import ggml, lib


def function(name: str, result: Any, *arguments: Any) -> Any:
    """The C function `name` with its types set. Raises AttributeError if this build lacks it."""
    found = getattr(_library(name), name)
    found.restype, found.argtypes = result, list(arguments)
    return found


@functools.cache
def _library(name: str) -> Any:
    """The copy of ggml that llama.cpp itself uses, so that a device registered there is seen here.

    Wheels hold no links, so libggml.so and the libggml.so.0 that libllama loads are two libraries in memory,
    each with a registry of its own. Looked up through libllama it is the right one; Windows does not look
    further than the library asked, but has each of them once.
    """
    return next((each for each in (lib._lib, ggml) if hasattr(each, name)), lib._lib)  # noqa: SLF001
