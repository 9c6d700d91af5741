"""The devices that this build of llama.cpp can use, from ggml's own registry."""

import ctypes
from dataclasses import dataclass
from enum import IntEnum

from llama_cpp import llama_cpp as lib

from ossctl.runtime.ggml import function
from ossctl.runtime.log import llama_log


class DeviceKind(IntEnum):
    """enum ggml_backend_dev_type, ggml/include/ggml-backend.h"""

    CPU = 0
    GPU = 1
    INTEGRATED_GPU = 2
    ACCELERATOR = 3
    META = 4


@dataclass(frozen=True)
class Device:
    """One device as llama.cpp sees it; `free` and `total` are bytes of its memory, now."""

    name: str
    description: str
    kind: DeviceKind
    free: int
    total: int


def list_devices() -> tuple[Device, ...]:
    """All devices in the order of ggml's registry: CUDA, Metal, Vulkan, ROCm, RPC and the CPU alike."""
    llama_log()
    lib.llama_backend_init()
    count = function("ggml_backend_dev_count", ctypes.c_size_t)()
    get = function("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
    return tuple(_describe(get(index)) for index in range(count))


def _describe(device: int) -> Device:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    size_p, pointer = ctypes.POINTER(ctypes.c_size_t), ctypes.c_void_p
    function("ggml_backend_dev_memory", None, pointer, size_p, size_p)(device, free, total)
    return Device(
        name=function("ggml_backend_dev_name", ctypes.c_char_p, pointer)(device).decode(),
        description=function("ggml_backend_dev_description", ctypes.c_char_p, pointer)(device).decode(),
        kind=DeviceKind(function("ggml_backend_dev_type", ctypes.c_int, pointer)(device)),
        free=free.value,
        total=total.value,
    )
