"""Computers with unified memory, shared by CPU and GPU, by name."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from ossctl.errors import UsageError
from ossctl.planning.machine import GIB, MIB, Device

_FREE = 0.95  # the free share of an idle computer's RAM

# The share of a Mac's memory in Metal's recommendedMaxWorkingSetSize, which llama.cpp logs and uses as the
# total: 2/3 up to 32 GB (10.67 of 16 GiB, 16 of 24), 3/4 above. Recent systems allow more (11.84 of 16, 107.5
# of 128), and `sysctl iogpu.wired_limit_mb` sets it.
_SMALL_MAC, _SMALL_MAC_SHARE, _MAC_SHARE = 32 * GIB, 2 / 3, 3 / 4
# AMD's Variable Graphics Memory is up to 96 of 128 GB. On Linux the GPU can also use half of the remaining
# RAM, unless ttm.pages_limit is set.
_STRIX_HALO_SHARE = 3 / 4
# The total that CUDA reports for the DGX Spark's 128 GB. llama.cpp uses the system's MemAvailable as free.
_DGX_SPARK = 122_502 * MIB

_SIZED = re.compile(r"(.*?)\s*\b(\d+)\s*gi?b", re.IGNORECASE)
_MAC = re.compile(r"(?:apple )?m([1-5])(?: ?(pro|max|ultra))?")
_STRIX_HALO = re.compile(r"(?:amd )?(?:strix ?halo|ryzen ai max\b.*|ai max\+? ?395|(?:radeon )?8060s)")
_SPARK = re.compile(r"(?:nvidia )?(?:dgx ?spark|gb10)")


@dataclass(frozen=True)
class Unified:
    """A computer with unified memory; `memory` is in bytes, None if not specified.

    `sizes` are the GB that it is sold with. `for_gpu` maps its memory to the bytes that the GPU can use.
    """

    name: str
    backend: str
    sizes: Collection[int]
    for_gpu: Callable[[int], int]
    memory: int | None = None

    def ram_and_gpu(self, ram: int | None) -> tuple[int, Device]:
        """Bytes of RAM, and the GPU that shares it. `ram` is the value of --ram. Raises UsageError."""
        if self.memory is not None and ram is not None:
            raise UsageError(
                f"--gpu {self.name} already sets the RAM, which its CPU and GPU share", "Omit --ram."
            )
        memory = self.memory or ram
        if memory is None:
            raise UsageError(
                f"--gpu: the memory of the {self.name} is missing",
                f'Write for example "{self.name} 64GB", or use --ram.',
            )
        total = self.for_gpu(memory)
        description = f"{self.name} {round(memory / GIB)}GB" if len(self.sizes) > 1 else self.name
        free = min(total, free_ram(memory))
        return memory, Device("GPU0", self.backend, description, free, total, shares_ram=True)


def free_ram(n_bytes: int) -> int:
    """The free part of `n_bytes` of RAM on an idle computer."""
    return int(n_bytes * _FREE)


def find_unified(text: str) -> Unified | None:
    """The computer that `text`, such as `M4 Max 64GB`, names, or None.

    Raises UsageError if there is none with this memory.
    """
    sized = _SIZED.fullmatch(text.strip())
    found = _named((sized[1] if sized else text).strip().lower())
    if found is None or sized is None:
        return found
    gb = int(sized[2])
    if gb not in found.sizes:
        sizes = f"{min(found.sizes)} to {max(found.sizes)}"
        raise UsageError(f"--gpu: there is no {found.name} with {gb} GB", f"It is sold with {sizes} GB.")
    return found if found.memory else replace(found, memory=gb * GIB)


def _named(name: str) -> Unified | None:
    if mac := _MAC.fullmatch(name):
        chip = f"M{mac[1]} {(mac[2] or '').title()}".strip()
        return Unified(chip, "Metal", range(8, 513), _mac)
    if _STRIX_HALO.fullmatch(name):
        return Unified("Strix Halo", "Vulkan", (32, 64, 96, 128), _strix_halo)
    if _SPARK.fullmatch(name):
        return Unified("DGX Spark", "CUDA", (128,), lambda memory: memory, _DGX_SPARK)
    return None


def _mac(memory: int) -> int:
    return int(memory * (_SMALL_MAC_SHARE if memory <= _SMALL_MAC else _MAC_SHARE))


def _strix_halo(memory: int) -> int:
    return int(memory * _STRIX_HALO_SHARE)
