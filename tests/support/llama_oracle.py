"""llama.cpp's own figures for settings, without loading any weights.

With `no_alloc` it reads a header, places the tensors and reserves its graphs, and can then tell the bytes of
every buffer that it would have allocated. Devices are llama.cpp's RPC servers on this machine: to it they
are GPUs.
"""

import ctypes
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ossctl.planning.machine import Device
from ossctl.planning.memory import predict
from ossctl.planning.settings import Settings
from ossctl.planning.shape import KvType, ModelShape
from ossctl.runtime.bindings import lib
from ossctl.runtime.breakdown import Breakdown, memory_breakdown
from ossctl.runtime.ggml import function
from ossctl.runtime.log import llama_log
from tests.support.rpc_servers import has_servers, register, rpc_server

_POINTER = ctypes.c_void_p

has_rpc = pytest.mark.skipif(not has_servers(), reason="needs Linux and llama.cpp built with -DGGML_RPC=ON")


@contextmanager
def oracle(*, streaming: bool = False) -> Iterator["Oracle"]:
    """Two servers, and a process to which they are GPUs. Others must not see them: a lost one is fatal.

    With `streaming` they want large batches with weights in RAM, as CUDA and Vulkan do and RPC does not.
    """
    context = multiprocessing.get_context("spawn")
    with rpc_server() as first, rpc_server() as second:
        addresses = (first, second)
        with ProcessPoolExecutor(1, context, _add_devices, (addresses, streaming)) as process:
            kind = "Vulkan" if streaming else "RPC"
            found = (Device(f"RPC{n}", kind, each, 0, 0) for n, each in enumerate(addresses))
            yield Oracle(process, tuple(found))


def _add_devices(addresses: Sequence[str], streaming: bool) -> None:
    register(addresses)
    if streaming:
        by_name = function("ggml_backend_dev_by_name", _POINTER, ctypes.c_char_p)
        for number in range(len(addresses)):
            # the twelfth function of struct ggml_backend_device_i, ggml/src/ggml-backend-impl.h
            functions = (_POINTER * 12).from_address(by_name(f"RPC{number}".encode()))
            functions[11] = ctypes.cast(_wants_pointer, _POINTER).value


def _wants(_device: int, tensor: int) -> bool:
    """ggml_backend_cuda_device_offload_op: 32 tokens or more, and no look-up of rows."""
    ne = (ctypes.c_int64 * 4).from_address(tensor + 16)  # struct ggml_tensor, ggml/include/ggml.h
    op = ctypes.c_int32.from_address(tensor + 80).value
    name = function("ggml_op_name", ctypes.c_char_p, ctypes.c_int)(op)
    rows = {b"GET_ROWS": 0, b"MUL_MAT": ne[1], b"MUL_MAT_ID": ne[2], b"ROPE": ne[2]}
    return bool(rows.get(name, ne[1] * ne[2] * ne[3]) >= 32)


_wants_pointer = ctypes.CFUNCTYPE(ctypes.c_bool, _POINTER, _POINTER)(_wants)


@dataclass(frozen=True)
class Oracle:
    """Asks llama.cpp in a process of its own."""

    process: ProcessPoolExecutor
    devices: tuple[Device, ...]

    def compare(self, path: Path, shape: ModelShape, settings: Sequence[Settings]) -> list["Comparison"]:
        """Predicted against actual bytes for each of `settings`, which differ in sizes only."""
        used = [device for device in self.devices if device.name in settings[0].devices]
        actual = self.process.submit(_measure, path, settings).result()
        return [
            comparison
            for each, buffers in zip(settings, actual, strict=True)
            for comparison in _compare(shape, each, used, buffers)
        ]


class _Override(ctypes.Structure):
    _fields_ = [("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p)]


def _measure(path: Path, settings: Sequence[Settings]) -> list[Breakdown]:
    """llama.cpp's buffers for each of `settings`, on a model placed by the first of them."""
    llama_log()
    place, params = settings[0], lib.llama_model_default_params()
    params.no_alloc, params.load_mode, params.use_extra_bufts = True, 0, False
    params.n_gpu_layers = place.gpu_layers
    by_name = function("ggml_backend_dev_by_name", _POINTER, ctypes.c_char_p)
    devices = (_POINTER * (len(place.devices) + 1))(*[by_name(d.encode()) for d in place.devices], None)
    params.devices = ctypes.cast(devices, _POINTER)
    split = (ctypes.c_float * 128)(*place.device_layers)
    params.tensor_split = split
    pattern = rf"blk\.({'|'.join(map(str, place.experts_in_ram))})\.ffn_(up|down|gate)_exps".encode()
    cpu = function("ggml_backend_cpu_buffer_type", _POINTER)()
    overrides = (_Override * 2)(_Override(pattern, cpu), _Override(None, None))
    if place.experts_in_ram:
        params.tensor_buft_overrides = ctypes.cast(overrides, _POINTER)
    model = lib.llama_model_load_from_file(os.fsencode(path), params)
    assert model, llama_log().reason()
    try:
        return [_buffers(model, each) for each in settings]
    finally:
        lib.llama_model_free(model)


def _buffers(model: Any, settings: Settings) -> Breakdown:
    params = lib.llama_context_default_params()
    params.n_ctx = settings.cells * settings.streams
    params.n_batch, params.n_ubatch = settings.batch, settings.ubatch
    params.n_seq_max = settings.parallel
    params.n_outputs_max = 0 if settings.all_logits else settings.parallel
    params.kv_unified, params.swa_full = settings.unified, False
    params.type_k = params.type_v = 1 if settings.kv_type is KvType.F16 else 8
    params.flash_attn_type = -1 if settings.flash_attention else 0
    params.n_threads = params.n_threads_batch = 1
    context = lib.llama_init_from_model(model, params)
    assert context, llama_log().reason()
    try:
        return memory_breakdown(context)
    finally:
        lib.llama_free(context)


@dataclass(frozen=True)
class Comparison:
    """One buffer: what was predicted and what llama.cpp would take, in bytes."""

    what: str
    purpose: str
    predicted: int
    actual: int

    @property
    def error(self) -> float:
        """Relative to the actual size; buffers of less than a MiB do not count."""
        if max(self.predicted, self.actual) < 1 << 20:
            return 0.0
        return abs(self.predicted - self.actual) / max(self.actual, 1)


def _compare(
    shape: ModelShape, settings: Settings, devices: Sequence[Device], actual: Breakdown
) -> Iterator[Comparison]:
    prediction = predict(shape, settings, devices)
    logits = settings.parallel * shape.n_vocab * 4  # in RAM, and not in llama.cpp's count
    places = [*(f"[{device.description}]" for device in devices), "CPU"]
    for use, place in zip((*prediction.devices, prediction.host), places, strict=True):
        buffers = [amounts for key, amounts in actual.items() if key.endswith(place)]
        found = [sum(column) for column in zip(*buffers, strict=True)] or [0, 0, 0]
        expected = (use.weights, use.kv, use.compute - (logits if place == "CPU" else 0))
        for purpose, predicted, size in zip(("weights", "kv", "compute"), expected, found, strict=True):
            yield Comparison(f"{place} with {settings}", purpose, predicted, size)
