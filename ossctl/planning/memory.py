"""Predict the memory that a model takes on each device and in RAM, by llama.cpp's own arithmetic."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ossctl.planning.graph import compute_bytes, rotation_size
from ossctl.planning.machine import MIB, Device
from ossctl.planning.reservation import PlacedLayer, Reservation, Ubatch, Widths
from ossctl.planning.settings import Settings
from ossctl.planning.shape import KvType, LayerShape, ModelShape

_CPU_ALIGNMENT = 32  # TENSOR_ALIGNMENT, ggml-impl.h
_GPU_ALIGNMENT = 128  # CUDA's; smaller elsewhere, a difference of a few bytes
_FLOAT = 4
_OFFLOAD_MIN_TOKENS = 32  # default of GGML_OP_OFFLOAD_MIN_BATCH, ggml-cuda.cu

# Bytes that a device needs besides the buffers that llama.cpp reports: driver context, kernels, cuBLAS
# workspace, CUDA graphs. Users measured 250 to 350 MiB on CUDA with a model loaded, 146 MiB of it before
# loading. An RPC server accounts for its own.
_CONTEXT = {"CUDA": 300 * MIB, "ROCm": 300 * MIB, "RPC": 64 * MIB}
_OTHER_CONTEXT = 256 * MIB
_FUSED = 2  # matrices of experts, if gate and up are one
_Q8_1 = 36 / 32  # bytes per activation: GPUs quantise them to q8_1 for matrix multiplications
_PROCESS = 400 * MIB  # Python, libraries, the vocabulary with its lookup tables
_CONVERTS_KV = ("CUDA", "ROCm")  # their attention converts a quantised cache to f16, beside its result


@dataclass(frozen=True)
class DeviceUse:
    """Bytes on a device or in RAM by purpose. `overhead` is memory that llama.cpp does not report."""

    weights: int = 0
    kv: int = 0
    compute: int = 0
    overhead: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.compute + self.overhead


@dataclass(frozen=True)
class Prediction:
    """Memory use of the settings' devices, in order, and of the RAM.

    `reserved` is whether llama.cpp itself gave weights, cache and compute, asked for these settings.
    """

    devices: tuple[DeviceUse, ...]
    host: DeviceUse
    reserved: bool = False


def predict(shape: ModelShape, settings: Settings, devices: Sequence[Device]) -> Prediction:
    """Predict the memory use of `settings`. `devices` are those that they name, in the same order."""
    cpu = len(devices)
    homes = layer_homes(shape.n_layers, settings.device_layers, cpu)
    weights, kv = [0] * (cpu + 1), [0] * (cpu + 1)
    in_ram = frozenset(settings.experts_in_ram)
    caches = cache_bytes(shape, settings)
    for number, layer in enumerate(shape.layers):
        home = homes[number]
        weights[home] += layer.dense_bytes
        weights[cpu if number in in_ram else home] += layer.expert_bytes
        kv[home] += caches[number]
    weights[homes[-1]] += shape.output_bytes - (shape.tied_bytes if homes[-1] == cpu else 0)
    if settings.repack:  # into a copy; the file stays mapped
        weights[cpu] *= 2
    weights[cpu] += shape.embedding_bytes
    compute = _compute(shape, settings, devices, homes)
    compute = (*compute[:-1], compute[-1] + logits_bytes(shape, settings))
    uses = [DeviceUse(*amounts) for amounts in zip(weights, kv, compute, strict=True)]
    extra = [overhead_of(device, shape, settings) for device in devices]
    placed = tuple(replace(use, overhead=more) for use, more in zip(uses, extra, strict=False))
    return Prediction(placed, replace(uses[-1], overhead=_host_overhead(shape, settings)))


def logits_bytes(shape: ModelShape, settings: Settings) -> int:
    """Bytes in RAM of a row of logits for each sequence and each drafted token."""
    return (settings.parallel + settings.draft) * shape.n_vocab * _FLOAT


def layer_homes(n_layers: int, device_layers: Sequence[int], cpu: int) -> list[int]:
    """The backend of each layer and, as the last item, of the output: the CPU, then the devices in order."""
    homes = [cpu] * (n_layers + 1 - sum(device_layers))
    for device, count in enumerate(device_layers):
        homes += [device] * count
    return homes


def cache_bytes(shape: ModelShape, settings: Settings) -> tuple[int, ...]:
    """Bytes of the KV cache of each layer."""
    by_kind = {layer: kv_bytes(layer, settings) for layer in shape.kinds}
    return tuple(by_kind[layer] for layer in shape.layers)


def kv_bytes(layer: LayerShape, settings: Settings) -> int:
    """Bytes of the KV cache of a layer, for all sequences."""
    cells = settings.window_cells(layer.window) if layer.window else settings.cells
    row = settings.kv_type.bytes_of(layer.k_width) + settings.kv_type.bytes_of(layer.v_width)
    return settings.streams * cells * row + settings.parallel * layer.state_bytes


def overhead_of(device: Device, shape: ModelShape, settings: Settings) -> int:
    """Bytes that `device` needs besides llama.cpp's buffers: its context and the pool of its kernels.

    The pool holds the quantised activations of the largest matrix multiplication twice. The partial results
    of attention need no more.
    """
    widest = max(
        shape.n_embd, shape.attention_width, shape.expert_width * shape.n_expert_used, shape.ffn_width
    )
    pool = 2 * int(settings.n_tokens * widest * _Q8_1)
    return _CONTEXT.get(device.backend, _OTHER_CONTEXT) + pool


def streams_experts(device: Device, settings: Settings) -> bool:
    """Whether `device` computes large batches with weights that are in RAM (op_offload)."""
    return device.backend != "RPC" and settings.n_tokens >= _OFFLOAD_MIN_TOKENS and not settings.repack


def _host_overhead(shape: ModelShape, settings: Settings) -> int:
    """Bytes of the process itself, of the CPU kernels' workspace (their input as f16), and of more logits."""
    widest = max(shape.n_embd, shape.expert_width * shape.n_expert_used)
    if not settings.flash_attention:
        widest = max(widest, shape.n_heads * settings.cells)  # scores
    more_rows = max(0, settings.n_outputs - settings.parallel)
    return _PROCESS + settings.n_tokens * widest * 2 + more_rows * shape.n_vocab * _FLOAT


def _compute(
    shape: ModelShape, settings: Settings, devices: Sequence[Device], homes: Sequence[int]
) -> tuple[int, ...]:
    """Bytes of the compute buffer on each device and, last, on the CPU."""
    cells, tokens = settings.cells, settings.n_tokens
    windows = [layer.window for layer in shape.layers if layer.window]
    window_cells = settings.window_cells(max(windows)) if windows else 0
    full = any(layer.k_width and not layer.window for layer in shape.layers)
    alignments = tuple(_CPU_ALIGNMENT if d.backend == "RPC" else _GPU_ALIGNMENT for d in devices)
    plain_mla = shape.latent.kv_rank if shape.latent and not settings.flash_attention else 0
    place = functools.cache(_LayerPlacer(settings, devices, plain_mla))
    in_ram = frozenset(settings.experts_in_ram)
    return compute_bytes(
        Reservation(
            widths=Widths.of(shape),
            layers=tuple(
                place(layer, homes[number], number in in_ram) for number, layer in enumerate(shape.layers)
            ),
            output=homes[-1],
            ubatch=Ubatch(
                n_tokens=tokens,
                n_outputs=settings.n_outputs,
                mask=cells * tokens if full else int(not windows),  # models without attention have none
                window_mask=window_cells * tokens,
            ),
            alignments=(*alignments, _CPU_ALIGNMENT),
            rotation=rotation_size(settings.kv_type, shape),
            pipelined=is_pipelined(shape, settings),
            flash_attention=settings.flash_attention,
        )
    )


def is_pipelined(shape: ModelShape, settings: Settings) -> bool:
    """Whether llama.cpp uses pipeline parallelism: several ubatches at once (llama_context's constructor)."""
    full_offload = settings.gpu_layers == shape.n_layers + 1
    return len(settings.devices) > 1 and full_offload and not settings.experts_in_ram


class _LayerPlacer:
    """Decide where a layer of a large batch is computed, and what is copied there for it.

    `transposed` are the values of a cached token that are copied because they are read transposed.
    """

    def __init__(self, settings: Settings, devices: Sequence[Device], transposed: int) -> None:
        self._settings = settings
        self._transposed = transposed
        self._cpu = len(devices)
        self._streaming = bool(devices) and streams_experts(devices[0], settings)
        quantised = settings.kv_type is not KvType.F16
        self._converting = {
            n for n, device in enumerate(devices) if quantised and device.backend in _CONVERTS_KV
        }

    def __call__(self, layer: LayerShape, home: int, experts_in_ram: bool) -> PlacedLayer:  # noqa: FBT001
        """`home` is the backend with the layer's weights."""
        settings, device = self._settings, 0 if self._streaming and home == self._cpu else home
        streamed = experts_in_ram and self._streaming
        cells = settings.window_cells(layer.window) if layer.window else settings.cells
        cached = cells * settings.streams
        as_f16 = KvType.F16.bytes_of(cached * (layer.k_width + layer.v_width))
        transposed = KvType.F16.bytes_of(cached * self._transposed)
        return PlacedLayer(
            device=device,
            experts=0 if streamed else self._cpu if experts_in_ram else home,
            windowed=layer.window > 0,
            has_experts=layer.expert_bytes > 0,
            expert_matrices=layer.matrices if streamed else (),
            fused_experts=len(layer.matrices) == _FUSED,
            dense_bytes=layer.dense_bytes if device != home else 0,
            cache_bytes=kv_bytes(layer, settings) if device != home else 0,
            extra_bytes=as_f16 if device in self._converting else transposed,
        )
