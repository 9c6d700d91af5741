"""The machine that plans are made for: this one, or one that the user asks about."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace

from ossctl.app.kernels import remembered_kernels
from ossctl.errors import UsageError
from ossctl.planning.machine import GIB, MIB, Device, Machine, UnusableGpu

# What is free of a card's nominal memory when nothing runs on it: 15.6 of 16 GiB, as CUDA reports.
_FREE_SHARE = 0.975
_RAM_FREE_SHARE = 0.95  # of a computer that does nothing else
_UNITS = {"": GIB, "g": 10**9, "gb": 10**9, "gib": GIB, "m": 10**6, "mb": 10**6, "mib": MIB, "t": 10**12,
          "tb": 10**12, "tib": 1024 * GIB}  # fmt: skip
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)
_MOST = 1 << 50  # bytes; more is a typing error

# Memory in GiB of cards that people have, by their makers' names; the first of two if it is not said which.
CARDS: dict[str, tuple[int, ...]] = {
    "RTX 2060": (6, 12), "RTX 2060 SUPER": (8,), "RTX 2070": (8,), "RTX 2080": (8,), "RTX 2080 Ti": (11,),
    "RTX 3050": (6, 8), "RTX 3060": (12, 8), "RTX 3060 Ti": (8,), "RTX 3070": (8,), "RTX 3070 Ti": (8,),
    "RTX 3080": (10, 12), "RTX 3080 Ti": (12,), "RTX 3090": (24,), "RTX 3090 Ti": (24,),
    "RTX 4060": (8,), "RTX 4060 Ti": (8, 16), "RTX 4070": (12,), "RTX 4070 SUPER": (12,),
    "RTX 4070 Ti": (12,),
    "RTX 4070 Ti SUPER": (16,), "RTX 4080": (16,), "RTX 4080 SUPER": (16,), "RTX 4090": (24,),
    "RTX 5060": (8,), "RTX 5060 Ti": (8, 16), "RTX 5070": (12,), "RTX 5070 Ti": (16,), "RTX 5080": (16,),
    "RTX 5090": (32,), "RTX A4000": (16,), "RTX A5000": (24,), "RTX A6000": (48,), "RTX 6000 Ada": (48,),
    "RTX Pro 6000": (96,), "T4": (16,), "V100": (16, 32), "L4": (24,), "L40S": (48,), "A10": (24,),
    "A100": (40, 80), "H100": (80,), "H200": (141,),
    "RX 6800 XT": (16,), "RX 7600 XT": (16,), "RX 7800 XT": (16,), "RX 7900 XT": (20,), "RX 7900 XTX": (24,),
    "RX 9070 XT": (16,), "MI210": (64,), "MI300X": (192,),
}  # fmt: skip


def this_machine() -> Machine:
    """This computer's devices, RAM and cores, as they are now."""
    from ossctl.runtime.devices import DeviceKind, backends, list_devices, placeable, system_info
    from ossctl.runtime.host import gpus, physical_cores, ram

    kernels = remembered_kernels()
    seen = placeable(list_devices())
    found = [each for each in seen if each.name not in kernels.problems]
    shares = (DeviceKind.INTEGRATED_GPU,)
    devices = tuple(
        Device(
            each.name,
            _BACKENDS.get(each.backend, each.backend),
            each.description,
            each.free,
            each.total,
            shares_ram=each.kind in shares or each.backend in _SHARING,
        )
        for each in found
    )
    memory = ram()
    unused = unusable_gpus(gpus(), [each.backend for each in seen], backends())
    failing = tuple(
        UnusableGpu(f"{each.name} ({each.description})", f"in a trial {kernels.problems[each.name]}")
        for each in seen
        if each.name in kernels.problems
    )
    return Machine(
        devices,
        memory.total,
        memory.free,
        physical_cores(),
        unusable=(*unused, *failing),
        extra_kernels=kernels.extra_kernels,
        amx=kernels.extra_kernels and "AMX_INT8 = 1" in system_info(),
        attention=kernels.attention,
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
        own, flag, variables = _VENDORS[vendor]
        if {own, "Vulkan"} & set(devices):
            continue
        if not {own, "Vulkan"} & set(backends):
            fix = (
                "this build of llama.cpp has no code for it: "
                f"CMAKE_ARGS={flag} pip install --force-reinstall --no-cache-dir llama-cpp-python"
            )
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
    "NVIDIA": ("CUDA", "-DGGML_CUDA=on", ("CUDA_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES")),
    "AMD": (
        "ROCm",
        "-DGGML_VULKAN=on",
        ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES"),
    ),
}


def hypothetical(
    machine: Machine, *, vram: Sequence[int] | None = None, ram: int | None = None, cards: Sequence[str] = ()
) -> Machine:
    """`machine` with other GPUs (bytes of each) and other RAM (bytes), where they are given."""
    sizes = [("", size) for size in vram or ()] + [_card(name) for name in cards]
    if vram is not None or cards:
        devices = tuple(
            Device(f"GPU{n}", "CUDA", name, int(size * _FREE_SHARE), size)
            for n, (name, size) in enumerate(sizes)
            if size
        )
        machine = replace(machine, devices=devices, unusable=())
    if ram is not None:
        machine = replace(machine, ram_total=ram, ram_free=int(ram * _RAM_FREE_SHARE))
    return machine


def _card(name: str) -> tuple[str, int]:
    """Name and bytes of a card; `16GB` at the end of its name tells which of two."""
    plain = re.sub(r"nvidia|geforce|amd|radeon|[^a-z0-9]", "", name.lower())
    said = re.fullmatch(r"(.+?)(\d+)gi?b", re.sub(r"nvidia|geforce|amd|radeon|[^a-z0-9 ]", "", name.lower()))
    for card, sizes in CARDS.items():
        own = card.lower().replace(" ", "")
        if plain == own:
            return card, sizes[0] * GIB
        if said is not None and said[1].replace(" ", "") == own and int(said[2]) in sizes:
            return f"{card} {said[2]}GB", int(said[2]) * GIB
    near = [
        f"{card} ({' or '.join(map(str, sizes))} GB)"
        for card, sizes in CARDS.items()
        if card.lower().replace(" ", "")[:6] == plain[:6]
    ]
    hint = f"Known are {', '.join(near or CARDS)}; for any other give --vram."
    raise UsageError(f"there is no card {name} in the table", hint)


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
