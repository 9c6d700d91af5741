"""llama.cpp's own figures for settings, without loading any weights.

With `no_alloc` it reads a header, places the tensors and reserves its graphs, and can then tell the bytes of
every buffer that it would have allocated. Devices are llama.cpp's RPC servers on this machine: to it they
are GPUs.
"""

import ctypes
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, RopeScalingType, TokenType
from llama_cpp import llama_cpp as lib

from ossctl.planning.machine import Device
from ossctl.planning.memory import predict
from ossctl.planning.settings import Settings
from ossctl.planning.shape import KvType, ModelShape
from ossctl.runtime.ggml import function
from ossctl.runtime.log import llama_log

_POINTER = ctypes.c_void_p
_HIDDEN, _HEADS, _KV_HEADS, _HEAD_DIM, _WIDTH, _VOCABULARY = 2880, 64, 8, 64, 2880, 201_088
_MXFP4, _Q8_0, _F32 = GGMLQuantizationType.MXFP4, GGMLQuantizationType.Q8_0, GGMLQuantizationType.F32

_SERVER = """
import ctypes, sys
from ossctl.runtime.ggml import function
pointer = ctypes.c_void_p
cpu = function("ggml_backend_dev_by_type", pointer, ctypes.c_int)(0)
start = function(
    "ggml_backend_rpc_start_server", None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t,
    ctypes.c_size_t, ctypes.POINTER(pointer),
)
start(sys.argv[1].encode(), None, 1, 1, (pointer * 1)(cpu))
"""

has_rpc = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(lib._lib, "ggml_backend_rpc_add_server"),
    reason="needs Linux and llama.cpp built with -DGGML_RPC=ON",
)


@contextmanager
def rpc_server() -> Iterator[str]:
    """A server on a free port of this machine; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    process = subprocess.Popen([sys.executable, "-c", _SERVER, address], stdout=subprocess.DEVNULL)
    try:
        _wait_for(address)
        yield address
    finally:
        process.kill()
        process.wait()


def _wait_for(address: str) -> None:
    host, port = address.split(":")
    for _ in range(200):
        try:
            socket.create_connection((host, int(port)), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"no RPC server at {address}")


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
    lib.llama_backend_init()
    for address in addresses:
        registered = function("ggml_backend_rpc_add_server", _POINTER, ctypes.c_char_p)(address.encode())
        function("ggml_backend_register", None, _POINTER)(registered)
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


def hollow_gpt_oss(path: Path, n_layers: int, n_experts: int) -> Path:
    """A gpt-oss with the released models' shapes and nothing in it: a header and a hole."""
    writer = GGUFWriter(str(path), "gpt-oss")
    writer.add_block_count(n_layers)
    writer.add_context_length(131_072)
    writer.add_embedding_length(_HIDDEN)
    writer.add_feed_forward_length(_WIDTH)
    writer.add_expert_feed_forward_length(_WIDTH)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_KV_HEADS)
    writer.add_key_length(_HEAD_DIM)
    writer.add_value_length(_HEAD_DIM)
    writer.add_expert_count(n_experts)
    writer.add_expert_used_count(4)
    writer.add_sliding_window(128)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(150_000.0)
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(32.0)
    writer.add_rope_scaling_orig_ctx_len(4096)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-4o")
    writer.add_token_list([f"t{n}" for n in range(_VOCABULARY)])
    writer.add_token_types([TokenType.NORMAL] * _VOCABULARY)
    writer.add_token_merges(["t 0"])
    writer.add_eos_token_id(0)
    size = 0
    for name, dims, kind in _tensors(n_layers, n_experts):
        values, n_bytes = GGML_QUANT_SIZES[kind]
        stored = (*dims[:-1], dims[-1] // values * n_bytes)
        data = np.dtype(np.float32) if kind is _F32 else np.dtype(np.uint8)
        taken = int(np.prod(dims)) // values * n_bytes
        writer.add_tensor_info(name, dims if kind is _F32 else stored, data, taken, raw_dtype=kind)
        size += taken + -taken % 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    os.truncate(path, path.stat().st_size + 32 + size)
    return path


def _tensors(n_layers: int, n_experts: int) -> Iterator[tuple[str, tuple[int, ...], GGMLQuantizationType]]:
    q, kv = _HEADS * _HEAD_DIM, _KV_HEADS * _HEAD_DIM
    yield "token_embd.weight", (_VOCABULARY, _HIDDEN), _Q8_0
    yield "output_norm.weight", (_HIDDEN,), _F32
    yield "output.weight", (_VOCABULARY, _HIDDEN), _Q8_0
    for n in range(n_layers):
        for norm in ("attn_norm", "post_attention_norm"):
            yield f"blk.{n}.{norm}.weight", (_HIDDEN,), _F32
        for name, width in (("q", q), ("k", kv), ("v", kv)):
            yield f"blk.{n}.attn_{name}.weight", (width, _HIDDEN), _Q8_0
            yield f"blk.{n}.attn_{name}.bias", (width,), _F32
        yield f"blk.{n}.attn_output.weight", (_HIDDEN, q), _Q8_0
        yield f"blk.{n}.attn_output.bias", (_HIDDEN,), _F32
        yield f"blk.{n}.attn_sinks.weight", (_HEADS,), _F32
        yield f"blk.{n}.ffn_gate_inp.weight", (n_experts, _HIDDEN), _F32
        yield f"blk.{n}.ffn_gate_inp.bias", (n_experts,), _F32
        for name, out, inner in (
            ("gate", _WIDTH, _HIDDEN),
            ("up", _WIDTH, _HIDDEN),
            ("down", _HIDDEN, _WIDTH),
        ):
            yield f"blk.{n}.ffn_{name}_exps.weight", (n_experts, out, inner), _MXFP4
            yield f"blk.{n}.ffn_{name}_exps.bias", (n_experts, out), _F32


class _Override(ctypes.Structure):
    _fields_ = [("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p)]


def _measure(path: Path, settings: Sequence[Settings]) -> list["Buffers"]:
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


def _buffers(model: Any, settings: Settings) -> "Buffers":
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
        return _breakdown(context)
    finally:
        lib.llama_free(context)


Buffers = dict[str, tuple[int, int, int]]  # bytes of weights, KV cache and compute by the buffer's name


def _breakdown(context: Any) -> Buffers:
    """llama_get_memory_breakdown, whose result is a std::map: three pointers a node, then key and value."""
    name_of = function("ggml_backend_buft_name", ctypes.c_char_p, _POINTER)
    result = (ctypes.c_uint64 * 6)()
    read = lib._lib._Z26llama_get_memory_breakdownPK13llama_context
    read.restype, read.argtypes = None, [_POINTER, _POINTER]
    read(ctypes.addressof(result), context)
    found: Buffers = {}
    nodes = [result[2]]
    while nodes:
        if address := nodes.pop():
            _, _, left, right, key, *amounts = (ctypes.c_uint64 * 8).from_address(address)
            found[name_of(key).decode()] = tuple(amounts)  # type: ignore[assignment]
            nodes += [left, right]
    return found


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
    shape: ModelShape, settings: Settings, devices: Sequence[Device], actual: Buffers
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
