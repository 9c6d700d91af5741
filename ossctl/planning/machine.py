"""What a plan may use: devices with their memory, RAM, cores."""

from dataclasses import dataclass

from ossctl.planning.attention import USUAL_COSTS, AttentionCosts

MIB = 1024 * 1024
GIB = 1024 * MIB
RAM_MARGIN = 0.05  # of the total, for what else the system keeps in memory


def shown_bytes(n_bytes: int) -> str:
    """`11.3 GiB`, and below one GiB `587 MiB`; what is missing is 0."""
    return f"{n_bytes / GIB:.1f} GiB" if n_bytes >= GIB else f"{max(0, n_bytes) / MIB:.0f} MiB"


@dataclass(frozen=True)
class Device:
    """A GPU, or another machine's through RPC, as llama.cpp sees it. `free` and `total` are bytes.

    `backend` is ggml's name for its kind: CUDA, ROCm, Vulkan, Metal, RPC. One that `shares_ram` works in the
    computer's memory, but for `carved_out` bytes, which its firmware keeps from the RAM.
    """

    name: str
    backend: str
    description: str
    free: int
    total: int
    shares_ram: bool = False
    carved_out: int = 0

    def of_ram(self, n_bytes: int) -> int:
        """How many of `n_bytes` on this device are missing in RAM."""
        return max(0, n_bytes - self.carved_out) if self.shares_ram else 0


@dataclass(frozen=True)
class UnusableGpu:
    """A GPU of this system that is not used: why, or what to do about it.

    `name` is llama.cpp's, if it sees it.
    """

    description: str
    fix: str
    name: str = ""

    @property
    def unused(self) -> str:
        """`An NVIDIA GPU is not used`."""
        article = "" if self.name else "An "
        return f"{article}{self.description} is not used"


@dataclass(frozen=True)
class Machine:
    """`devices` in llama.cpp's order. `ram_free` is bytes that programs can get without swapping.

    `cores` are the physical cores that this process may use. Without `extra_kernels` its CPU has llama.cpp's
    plain ones alone, which take weights as they are in the file; with `amx` some of the others use its tiles.
    `attention` is what that costs on the CPU.
    """

    devices: tuple[Device, ...]
    ram_total: int
    ram_free: int
    cores: int
    unusable: tuple[UnusableGpu, ...] = ()
    extra_kernels: bool = True
    amx: bool = False
    attention: AttentionCosts = USUAL_COSTS


def ram_margin(machine: Machine) -> int:
    """Bytes of RAM that a plan leaves to others."""
    return int(machine.ram_total * RAM_MARGIN)
