"""The devices that this build of llama.cpp can use, from ggml's registry."""

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from ossctl.errors import OssctlError
from ossctl.runtime.bindings import lib
from ossctl.runtime.ggml import function
from ossctl.runtime.log import llama_log
from ossctl.runtime.pulse import WHATEVER_IS_FREE
from ossctl.runtime.rpc import add_workers, is_loopback, offers_of_worker


class DeviceKind(IntEnum):
    """enum ggml_backend_dev_type, ggml/include/ggml-backend.h"""

    CPU = 0
    GPU = 1
    INTEGRATED_GPU = 2
    ACCELERATOR = 3
    META = 4


@dataclass(frozen=True)
class BackendDevice:
    """A device as llama.cpp sees it; `free` and `total` are bytes of its memory at this moment.

    `backend` is ggml's name: CPU, CUDA, ROCm, Vulkan, MTL, RPC. `is_ram` is whether a worker on this machine
    serves its CPU, so that the memory is the computer's RAM. `device_id` is the PCI address such as
    `0000:c1:00.0`, which is the same if two backends show the same device; '' if there is none.
    """

    name: str
    backend: str
    description: str
    kind: DeviceKind
    free: int
    total: int
    device_id: str = ""
    is_ram: bool = False


class _Properties(ctypes.Structure):
    """struct ggml_backend_dev_props, ggml/include/ggml-backend.h"""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("free", ctypes.c_size_t),
        ("total", ctypes.c_size_t),
        ("kind", ctypes.c_int),
        ("device_id", ctypes.c_char_p),
        ("capabilities", ctypes.c_bool * 5),
    ]


def list_devices(backend: str = "") -> tuple[BackendDevice, ...]:
    """All devices, or those of a `backend`, in the order of ggml's registry.

    A worker that serves another process does not answer, so only those of other backends can be listed then.
    """
    _start()
    pointer = ctypes.c_void_p
    count = function("ggml_backend_dev_count", ctypes.c_size_t)()
    get = function("ggml_backend_dev_get", pointer, ctypes.c_size_t)
    registry = function("ggml_backend_dev_backend_reg", pointer, pointer)
    wanted = [each for each in map(get, range(count)) if backend in {"", _registry_name(registry(each))}]
    return tuple(as_offered([*map(_describe, wanted)]))


def as_offered(devices: Sequence[BackendDevice]) -> Iterator[BackendDevice]:
    """`devices` with no more free memory than their workers offer. Their descriptions are the addresses."""
    remote = {each.description for each in devices if each.backend == "RPC"}
    offers = {address: iter(offers_of_worker(address)) for address in remote}
    for each in devices:
        offer = next(offers[each.description], None) if each.backend == "RPC" else None
        if offer is None or offer == WHATEVER_IS_FREE:
            yield each
        else:
            yield replace(each, free=min(each.free, offer), is_ram=is_loopback(each.description))


def find_device(name: str) -> int:
    """The C API's handle of a device. Raises OssctlError if there is none of that name."""
    _start()
    handle = function("ggml_backend_dev_by_name", ctypes.c_void_p, ctypes.c_char_p)(name.encode())
    if not handle:
        hint = "`ossctl doctor` lists the devices that llama.cpp sees."
        raise OssctlError(f"there is no device {name}", hint)
    return int(handle)


def serve(address: str, threads: int, names: Sequence[str]) -> None:
    """Serve devices to other machines by llama.cpp's RPC. Returns only if that fails."""
    pointer = ctypes.c_void_p
    devices = (pointer * len(names))(*map(find_device, names))
    start = function(
        "ggml_backend_rpc_start_server",
        None,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_size_t,
        ctypes.POINTER(pointer),
    )
    start(address.encode(), None, threads, len(names), devices)


def _start() -> None:
    """Route the log before llama.cpp registers its backends, which it does once; then add the workers."""
    llama_log()
    lib.llama_backend_init()
    add_workers()


def _describe(device: int) -> BackendDevice:
    found, pointer = _Properties(), ctypes.c_void_p
    read = function("ggml_backend_dev_get_props", None, pointer, ctypes.POINTER(_Properties))
    read(device, found)
    return BackendDevice(
        name=found.name.decode(),
        backend=_registry_name(function("ggml_backend_dev_backend_reg", pointer, pointer)(device)),
        description=found.description.decode(),
        kind=DeviceKind(found.kind),
        free=found.free,
        total=found.total,
        device_id=(found.device_id or b"").decode(),
    )


def backends() -> tuple[str, ...]:
    """The backends in this build of llama.cpp, whether or not they have a device here."""
    _start()
    count = function("ggml_backend_reg_count", ctypes.c_size_t)()
    get = function("ggml_backend_reg_get", ctypes.c_void_p, ctypes.c_size_t)
    return tuple(_registry_name(get(index)) for index in range(count))


def system_info() -> str:
    """llama.cpp's description of its build: instruction sets, libraries."""
    return str(lib.llama_print_system_info().decode("utf-8", "replace"))


def placeable(devices: Sequence[BackendDevice]) -> tuple[BackendDevice, ...]:
    """The devices on which llama.cpp places layers by default, in its order (llama_prepare_model_devices).

    RPC servers come first, integrated GPUs only if there is no other GPU. If two backends show the same GPU,
    the first one gets it. Integrated GPUs may have no id, so only those of the first backend count.
    """
    gpus = [device for device in devices if device.kind is DeviceKind.GPU]
    remote = [device for device in gpus if device.backend == "RPC"]
    local = [device for device in gpus if device.backend != "RPC"]
    once: dict[str, BackendDevice] = {}
    for device in local:
        once.setdefault(device.device_id or device.name, device)
    integrated = [device for device in devices if device.kind is DeviceKind.INTEGRATED_GPU]
    of_first = [device for device in integrated if device.backend == integrated[0].backend]
    return (*remote, *(once.values() or of_first))


def _registry_name(registry: int) -> str:
    name = function("ggml_backend_reg_name", ctypes.c_char_p, ctypes.c_void_p)
    return str(name(registry).decode())
