"""Computers whose GPU works in the computer's own memory, by the names that people give them."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from ossctl.errors import UsageError
from ossctl.planning.machine import GIB, MIB, Device

_FREE = 0.95  # of the RAM of a computer that does nothing else

# Of a Mac's memory Metal recommends to use 2/3 up to 32 GB (10.67 of 16 GiB, 16 of 24), and 3/4 of more: its
# recommendedMaxWorkingSetSize, which llama.cpp logs and takes for the total. Recent systems allow more by
# themselves (11.84 of 16, 107.5 of 128), and `sysctl iogpu.wired_limit_mb` sets it.
_SMALL_MAC, _OF_SMALL_MAC, _OF_MAC = 32 * GIB, 2 / 3, 3 / 4
# AMD's Variable Graphics Memory goes up to 96 of 128 GB. Linux lets the GPU have half of the RAM besides,
# unless ttm.pages_limit says otherwise.
_OF_STRIX_HALO = 3 / 4
# Of the DGX Spark's 128 GB, what CUDA reports in all. llama.cpp takes the system's MemAvailable for free.
_DGX_SPARK = 122_502 * MIB

_SIZED = re.compile(r"(.*?)\s*\b(\d+)\s*gi?b", re.IGNORECASE)
_MAC = re.compile(r"(?:apple )?m([1-5])(?: ?(pro|max|ultra))?")
_STRIX_HALO = re.compile(r"(?:amd )?(?:strix ?halo|ryzen ai max\b.*|ai max\+? ?395|(?:radeon )?8060s)")
_SPARK = re.compile(r"(?:nvidia )?(?:dgx ?spark|gb10)")


@dataclass(frozen=True)
class Unified:
    """A computer with one memory for CPU and GPU, of so many bytes; None if that was not said.

    It is sold with `sizes`, in GB. `for_gpu` tells how much of its memory the GPU may use.
    """

    name: str
    backend: str
    sizes: Collection[int]
    for_gpu: Callable[[int], int]
    memory: int | None = None

    def divided(self, ram: int | None) -> tuple[int, Device]:
        """Bytes of RAM, and the GPU that works in it. `ram` is what --ram says. Raises UsageError."""
        if self.memory is not None and ram is not None:
            raise UsageError(
                f"--gpu {self.name} and --ram say the same thing twice: it has one memory for CPU and GPU",
                "Leave out --ram.",
            )
        memory = self.memory or ram
        if memory is None:
            raise UsageError(
                f"--gpu: how much memory has the {self.name}?", f'Write "{self.name} 64GB", or give --ram.'
            )
        total = self.for_gpu(memory)
        shown = f"{self.name} {round(memory / GIB)}GB" if len(self.sizes) > 1 else self.name
        free = min(total, free_ram(memory))
        return memory, Device("GPU0", self.backend, shown, free, total, shares_ram=True)


def free_ram(n_bytes: int) -> int:
    """Bytes that are free of so much RAM when nothing runs."""
    return int(n_bytes * _FREE)


def find_unified(text: str) -> Unified | None:
    """The computer that is meant, as `M4 Max 64GB`; None if it is none of these. Raises UsageError."""
    sized = _SIZED.fullmatch(text.strip())
    found = _named((sized[1] if sized else text).strip().lower())
    if found is None or sized is None:
        return found
    gb = int(sized[2])
    if gb not in found.sizes:
        known = f"{min(found.sizes)} to {max(found.sizes)}"
        raise UsageError(f"--gpu: there is no {found.name} with {gb} GB", f"It comes with {known} GB.")
    return found if found.memory else replace(found, memory=gb * GIB)


def _named(name: str) -> Unified | None:
    if mac := _MAC.fullmatch(name):
        chip = f"M{mac[1]} {(mac[2] or '').title()}".strip()
        return Unified(chip, "Metal", range(8, 513), _mac)
    if _STRIX_HALO.fullmatch(name):
        return Unified("Strix Halo", "Vulkan", (32, 64, 96, 128), _strix_halo)
    if _SPARK.fullmatch(name):
        return Unified("DGX Spark", "CUDA", (128,), _all, _DGX_SPARK)
    return None


def _mac(memory: int) -> int:
    return int(memory * (_OF_SMALL_MAC if memory <= _SMALL_MAC else _OF_MAC))


def _strix_halo(memory: int) -> int:
    return int(memory * _OF_STRIX_HALO)


def _all(memory: int) -> int:
    return memory
