"""Times attention on this CPU, with llama.cpp's flash attention and without."""

import ctypes
from collections.abc import Callable
from math import sqrt
from time import perf_counter
from typing import Any

from ossctl.runtime.ggml import function

_POINTER, _LONG, _FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_F32, _F16 = 0, 1  # enum ggml_type
_HEAD_DIM, _HEADS, _KV_HEADS = 64, 8, 2
_CELLS = 1024
_MEMORY = 64 * 1024 * 1024  # bytes for the tensors of one measurement
_SECONDS = 0.05  # of repeating it, in which even a busy machine lets some rounds pass undisturbed


class _ContextParams(ctypes.Structure):
    """struct ggml_init_params, ggml/include/ggml.h"""

    _fields_ = [("mem_size", ctypes.c_size_t), ("mem_buffer", _POINTER), ("no_alloc", ctypes.c_bool)]


class _ComputePlan(ctypes.Structure):
    """struct ggml_cplan, ggml/include/ggml-cpu.h"""

    _fields_ = [
        ("work_size", ctypes.c_size_t),
        ("work_data", _POINTER),
        ("n_threads", ctypes.c_int),
        ("threadpool", _POINTER),
        ("abort_callback", _POINTER),
        ("abort_callback_data", _POINTER),
        ("use_ref", ctypes.c_bool),
    ]


def attention_seconds(n_tokens: int, n_threads: int, *, flash: bool) -> float:
    """Seconds per head, token and cell if `n_tokens` in one batch attend to 1,024 cells of f16.

    The operations follow llm_graph_context::build_attn_mha (src/llama-graph.cpp).
    """
    context = function("ggml_init", _POINTER, _ContextParams)(_ContextParams(_MEMORY, None, False))
    try:
        build = _flash if flash else _plain
        graph = function("ggml_new_graph", _POINTER, _POINTER)(context)
        function("ggml_build_forward_expand", None, _POINTER, _POINTER)(graph, build(context, n_tokens))
        # ggml_graph_compute_with_ctx would take its work buffer from the context's memory, each time anew
        plan = function("ggml_graph_plan", _ComputePlan, _POINTER, ctypes.c_int, _POINTER)(
            graph, n_threads, None
        )
        work = ctypes.create_string_buffer(plan.work_size)
        plan.work_data = ctypes.addressof(work)
        compute = function("ggml_graph_compute", ctypes.c_int, _POINTER, ctypes.POINTER(_ComputePlan))
        best = _fastest(lambda: compute(graph, ctypes.byref(plan)))
    finally:
        function("ggml_free", None, _POINTER)(context)
    return best / (_HEADS * n_tokens * _CELLS)


def _flash(context: int, n_tokens: int) -> int:
    q, k = _query(context, n_tokens), _per_head(context, _tensor(context, _F16, _HEAD_DIM, _KV_HEADS, _CELLS))
    v = _per_head(context, _tensor(context, _F16, _HEAD_DIM, _KV_HEADS, _CELLS))
    mask = _tensor(context, _F16, _CELLS, n_tokens, 1)
    attend = function("ggml_flash_attn_ext", _POINTER, *[_POINTER] * 5, _FLOAT, _FLOAT, _FLOAT)
    return int(attend(context, q, k, v, mask, 1 / sqrt(_HEAD_DIM), 0.0, 0.0))


def _plain(context: int, n_tokens: int) -> int:
    q, k = _query(context, n_tokens), _per_head(context, _tensor(context, _F16, _HEAD_DIM, _KV_HEADS, _CELLS))
    v = _tensor(context, _F16, _CELLS, _HEAD_DIM, _KV_HEADS)  # transposed, as in the cache
    mask = _tensor(context, _F32, _CELLS, n_tokens, 1)
    multiply = function("ggml_mul_mat", _POINTER, _POINTER, _POINTER, _POINTER)
    soften = function("ggml_soft_max_ext", _POINTER, _POINTER, _POINTER, _POINTER, _FLOAT, _FLOAT)
    scores = soften(context, multiply(context, k, q), mask, 1 / sqrt(_HEAD_DIM), 0.0)
    return int(multiply(context, v, scores))


def _query(context: int, n_tokens: int) -> int:
    return _per_head(context, _tensor(context, _F32, _HEAD_DIM, _HEADS, n_tokens))


def _tensor(context: int, kind: int, *sizes: int) -> int:
    """A tensor of zeros, because uninitialised memory may hold denormals, which are slow to compute with."""
    make = function("ggml_new_tensor_3d", _POINTER, _POINTER, ctypes.c_int, _LONG, _LONG, _LONG)
    return int(function("ggml_set_zero", _POINTER, _POINTER)(make(context, kind, *sizes)))


def _per_head(context: int, tensor: int) -> int:
    permute = function("ggml_permute", _POINTER, _POINTER, _POINTER, *[ctypes.c_int] * 4)
    return int(permute(context, tensor, 0, 2, 1, 3))


def _fastest(work: Callable[[], Any]) -> float:
    started = now = perf_counter()
    seconds = []
    while now - started < _SECONDS:
        before = now
        work()
        now = perf_counter()
        seconds.append(now - before)
    return min(seconds)
