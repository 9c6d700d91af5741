"""The machine that plans are made for: this one, or one that the user asks about."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ossctl.app.placement.kernel_trial import Trial, remembered_kernels
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
_MOST = 1 << 50  # bytes; more is a typing error


def this_machine(kernels: Trial | None = None) -> Machine:
    """This computer's devices, RAM and cores, as they are now; `kernels` None is the last trial of them."""
    from ossctl.runtime.devices import backends, list_devices, placeable, system_info
    from ossctl.runtime.host import gpus, physical_cores, ram

    kernels = kernels or remembered_kernels()
    seen = placeable(list_devices())
    memory = ram()
    devices = [planned_device(each, memory.total) for each in seen]
    unused = unusable_gpus(gpus(), [each.backend for each in seen], backends())
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
        unusable=(*unused, *failing),
        extra_kernels=kernels.extra_kernels,
        amx=kernels.extra_kernels and "AMX_INT8 = 1" in system_info(),
        attention=kernels.attention,
    )


def planned_device(found: "runtime.BackendDevice", ram: int) -> Device:
    """A device as plans see it, in a computer with so many bytes of RAM.

    Integrated GPUs share it: ggml calls an APU and a GB10 that (IGPU), but a Mac's GPU a GPU. CUDA takes what
    the system has available for free on a GB10; Vulkan counts carve-out and RAM together; ROCm either.
    """
    from ossctl.runtime.devices import DeviceKind
    from ossctl.runtime.host import carved_out

    shares = found.kind is DeviceKind.INTEGRATED_GPU or found.backend in _SHARING
    # With GGML_CUDA_ENABLE_UNIFIED_MEMORY, CUDA calls all of the RAM free on a card that has less.
    free = min(found.free, found.total)
    kept = carved_out(found.device_id, found.total, ram) if shares and found.backend != "CUDA" else 0
    return Device(
        found.name,
        _BACKENDS.get(found.backend, found.backend),
        found.description,
        free,
        found.total,
        shares_ram=shares,
        carveout=max(0, kept - (found.total - free)),
    )


_BACKENDS = {"MTL": "Metal"}
_SHARING = ("MTL", "Metal")  # a Mac's GPU works in the computer's own memory


def unusable_gpus(
    vendors: Sequence[str], devices: Sequence[str], backends: Sequence[str]
) -> tuple[UnusableGpu, ...]:
    """Cards of these vendors that no device stands for, and why.

    `devices` are the backends of the devices that there are, `backends` those that this build has.
    """
    found = []
    for vendor in dict.fromkeys(vendors):
        own, build, variables = _VENDORS[vendor]
        if {own, "Vulkan"} & set(devices):
            continue
        if not {own, "Vulkan"} & set(backends):
            fix = f"this build of llama.cpp has no code for it; one that has: {rebuild_command(build)}"
        else:
            hidden = [name for name in variables if name in os.environ]
            fix = (
                f"{hidden[0]} hides it"
                if hidden
                else f"{own} finds no usable driver for it; is it installed?"
            )
        found.append(UnusableGpu(f"{vendor} GPU", fix))
    return tuple(found)


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
    """`machine` with other GPUs, by their memory or their names, and other RAM (bytes), where they are given.

    Raises UsageError.
    """
    computers = [found for found in map(find_unified, cards) if found]
    if len(computers) > 1:
        raise UsageError("--gpu: a machine has one memory that CPU and GPU share", "Name one of them.")
    given = [("", "CUDA", memory) for memory in vram or ()]
    given += [find_card(name) for name in cards if not find_unified(name)]
    devices = tuple(
        Device(f"GPU{n}", backend, name, memory.free, memory.total)
        for n, (name, backend, memory) in enumerate(given)
        if memory.total
    )
    if computers:
        ram, gpu = computers[0].ram_and_gpu(ram)
        devices = devices or (gpu,)  # as llama.cpp leaves integrated GPUs out where there are others
    if vram is not None or cards:
        machine = replace(machine, devices=devices, unusable=())
    if ram is not None:
        machine = replace(machine, ram_total=ram, ram_free=free_ram(ram))
    return machine


def parse_vram(text: str) -> Memory:
    """A GPU's memory: `32105MiB` is what is to be had, `32GiB`, `32GB` or `32` what the card is sold as.

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
    if not 0 <= size <= _MOST:
        raise UsageError(f"{option}: {text} is more than any machine has")
    return size
