"""The memory of a context by buffer, as llama.cpp itself counts it.

`llama_get_memory_breakdown` returns a std::map by buffer type. It is no part of the C API, so its name is
mangled and its result is libstdc++'s tree, which is read here; other platforms have no answer.
"""

import ctypes
import sys
from typing import Any

from ossctl.runtime.bindings import lib
from ossctl.runtime.ggml import function

_BREAKDOWN = "_Z26llama_get_memory_breakdownPK13llama_context"
_POINTER = ctypes.c_void_p
_ROOT = 2  # std::map: comparison, colour, root, leftmost, rightmost, number of nodes


class _Map(ctypes.Structure):
    _fields_ = [("words", ctypes.c_uint64 * 6)]


class _Node(ctypes.Structure):
    """_Rb_tree_node of std::map<ggml_backend_buffer_type_t, llama_memory_breakdown_data>."""

    _fields_ = [
        ("colour", ctypes.c_uint64),
        ("parent", _POINTER),
        ("left", _POINTER),
        ("right", _POINTER),
        ("buffer_type", _POINTER),
        ("amounts", ctypes.c_uint64 * 3),
    ]


Breakdown = dict[str, tuple[int, int, int]]  # bytes of weights, cache and compute by the buffer's name


def memory_breakdown(context: Any) -> Breakdown:
    """The buffers of a llama_context; {} where this build cannot tell. Logits are not counted."""
    if sys.platform != "linux" or not hasattr(lib._lib, _BREAKDOWN):  # noqa: SLF001
        return {}
    name_of = function("ggml_backend_buft_name", ctypes.c_char_p, _POINTER)
    found: Breakdown = {}
    nodes = [function(_BREAKDOWN, _Map, _POINTER)(context).words[_ROOT]]
    while nodes:
        if address := nodes.pop():
            node = _Node.from_address(address)
            found[name_of(node.buffer_type).decode()] = tuple(node.amounts)
            nodes += [node.left, node.right]
    return found
