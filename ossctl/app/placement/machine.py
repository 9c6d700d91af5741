"""The machine to plan for: this one, or a hypothetical one."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ossctl.app.placement.kernel_trial import Trial, cached_trial
from ossctl.build import rebuild_command
from ossctl.errors import UsageError
from ossctl.planning.cards import Memory, exact, find_card, nominal
from ossctl.planning.machine import GIB, MIB, Device, Machine, UnusableGpu
from ossctl.planning.unified import find_unified, free_ram

if TYPE_CHECKING:
    from ossctl.runtime import devices as runtime

_UNITS = {"": GIB, "g": 10**9, "gb": 10**9, "gib": GIB, "m": 10**6, "mb": 10**6, "mib": MIB, "t": 10**12,
          "tb": 10**12, "tib": 1024 * GIB}  # fmt: skip
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)
_MAX_SIZE = 1 << 50  # bytes; more must be a typo


def this_machine(kernels: Trial | None = None) -> Machine:
    """This computer's devices, RAM and cores as of now. `kernels` defaults to the cached trial."""
    from ossctl.runtime.devices import backends, list_devices, placeable, system_info
    from ossctl.runtime.host import gpus, physical_cores, ram

    kernels = kernels or cached_trial()
    found = placeable(list_devices())
    memory = ram()
    devices = [planned_device(each, memory.total) for each in found]
    unsupported = unusable_gpus(gpus(), [each.backend for each in found], backends())
    failing = tuple(
        UnusableGpu(
            f"{each.name} ({each.description})",
            f"it failed a self-test: {kernels.problems[each.name]}. `ossctl doctor` tests it again.",
            each.name,
        )
        for each in devices
        if each.name in kernels.problems
    )
    return Machine(
        tuple(each for each in devices if each.name not in kernels.problems),
        memory.total,
        memory.free,
        physical_cores(),
        unusable=(*unsupported, *failing),
        extra_kernels=kernels.extra_kernels,
        amx=kernels.extra_kernels and "AMX_INT8 = 1" in system_info(),
        attention=kernels.attention,
    )


def planned_device(found: "runtime.BackendDevice", ram: int) -> Device:
    """The planner's view of a device, in a computer with `ram` bytes of RAM.

    Integrated GPUs share the RAM: those of type IGPU in ggml, such as APUs and the GB10, and those of Macs.
    On a GB10, CUDA reports the available RAM as free. On APUs, Vulkan counts carve-out and RAM together, ROCm
    either. A worker on this machine may serve its CPU, for a trial.
    """
    from ossctl.runtime.devices import DeviceKind
    from ossctl.runtime.host import carved_out

    integrated = found.kind is DeviceKind.INTEGRATED_GPU or found.backend in _MACS
    # With GGML_CUDA_ENABLE_UNIFIED_MEMORY, CUDA reports all RAM as free, even on a discrete GPU.
    free = min(found.free, found.total)
    reserved = carved_out(found.device_id, found.total, ram) if integrated and found.backend != "CUDA" else 0
    return Device(
        found.name,
        _BACKENDS.get(found.backend, found.backend),
        found.description,
        free,
        found.total,
        shares_ram=integrated or found.is_ram,
        carveout=max(0, reserved - (found.total - free)),
    )


_BACKENDS = {"MTL": "Metal"}
_MACS = ("MTL", "Metal")  # ggml gives their GPUs the type of discrete ones


def unusable_gpus(
    vendors: Sequence[str], devices: Sequence[str], backends: Sequence[str]
) -> tuple[UnusableGpu, ...]:
    """The GPUs of `vendors` that llama.cpp has no device for, and why.

    `devices` are the backends of llama.cpp's devices, `backends` those of this build.
    """
    unusable = []
    for vendor in dict.fromkeys(vendors):
        own, build, variables = _VENDORS[vendor]
        if {own, "Vulkan"} & set(devices):
            continue
        hidden_by = next((name for name in variables if name in os.environ), None)
        if not {own, "Vulkan"} & set(backends):
            fix = f"this build of llama.cpp does not support it. To rebuild, run {rebuild_command(build)}"
        elif hidden_by:
            fix = f"{hidden_by} hides it"
        else:
            fix = f"{own} finds no usable driver for it; is one installed?"
        unusable.append(UnusableGpu(f"{vendor} GPU", fix))
    return tuple(unusable)


_VENDORS = {
    "NVIDIA": ("CUDA", "cuda", ("CUDA_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES")),
    "AMD": (
        "ROCm",
        "vulkan",
        ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES"),
    ),
}


def hypothetical(
    machine: Machine,
    *,
    vram: Sequence[Memory] | None = None,
    ram: int | None = None,
    cards: Sequence[str] = (),
) -> Machine:
    """`machine` with GPUs replaced, by memory or names, and RAM (bytes) replaced, where given.

    Raises UsageError.
    """
    computers = [found for found in map(find_unified, cards) if found]
    if len(computers) > 1:
        raise UsageError("--gpu: a machine has only one unified memory", "Name one of these computers.")
    given = [("", "CUDA", memory) for memory in vram or ()]
    given += [find_card(name) for name in cards if not find_unified(name)]
    devices = tuple(
        Device(f"GPU{n}", backend, name, memory.free, memory.total)
        for n, (name, backend, memory) in enumerate(given)
        if memory.total
    )
    if computers:
        ram, gpu = computers[0].ram_and_gpu(ram)
        devices = devices or (gpu,)  # llama.cpp ignores integrated GPUs if there are others
    if vram is not None or cards:
        machine = replace(machine, devices=devices, unusable=(), hypothetical=True)
    if ram is not None:
        machine = replace(machine, ram_total=ram, ram_free=free_ram(ram), hypothetical=True)
    return machine


def parse_vram(text: str) -> Memory:
    """A GPU's memory. MiB, as in `32105MiB`, are all free; other units are the size on the label.

    Raises UsageError.
    """
    size = parse_size(text, "--vram")
    return exact(size) if re.search(r"m(i?b)?\s*$", text, re.IGNORECASE) else nominal(size)


def parse_size(text: str, option: str) -> int:
    """Bytes from `16GiB`, `24576MiB`, `16GB` or a bare number of GiB. Raises UsageError."""
    found = _SIZE.fullmatch(text.strip())
    unit = _UNITS.get(found[2].lower()) if found else None
    if found is None or unit is None:
        raise UsageError(
            f"{option}: {text or 'nothing'} is not a size", "Write it as 16GiB, 24576MiB or 16GB."
        )
    size = int(float(found[1]) * unit)
    if size > _MAX_SIZE:
        raise UsageError(f"{option}: {text} is too large")
    return size
