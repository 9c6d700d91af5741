"""Functions of libggml that llama-cpp-python does not declare."""

from typing import Any

from llama_cpp._ggml import libggml


def function(name: str, result: Any, *arguments: Any) -> Any:
    """The C function `name` with its types set."""
    found = getattr(libggml, name)
    found.restype, found.argtypes = result, list(arguments)
    return found
