"""The machine that a plan is for: devices and their memory, RAM, cores."""

from dataclasses import dataclass

from ossctl.planning.attention import USUAL_COSTS, AttentionCosts

MIB = 1024 * 1024
GIB = 1024 * MIB
RAM_MARGIN = 0.05  # of all RAM, reserved for the system and other programs


def format_bytes(n_bytes: int) -> str:
    """`11.3 GiB`, or `587 MiB` below one GiB. Negative numbers are shown as 0."""
    return f"{n_bytes / GIB:.1f} GiB" if n_bytes >= GIB else f"{max(0, n_bytes) / MIB:.0f} MiB"


@dataclass(frozen=True)
class Device:
    """A llama.cpp device: a local GPU or a remote one (RPC). `free` and `total` are bytes.

    `backend` is CUDA, ROCm, Vulkan, Metal or RPC. If it `shares_ram`, its memory is the computer's RAM,
    except for the `carveout`: bytes that the firmware reserves for the GPU.
    """

    name: str
    backend: str
    description: str
    free: int
    total: int
    shares_ram: bool = False
    carveout: int = 0

    def ram_share(self, n_bytes: int) -> int:
        """How many of `n_bytes` on this device are taken from RAM."""
        return max(0, n_bytes - self.carveout) if self.shares_ram else 0


@dataclass(frozen=True)
class UnusableGpu:
    """A GPU that is not used; `fix` says why or what to do. `name` is "" if llama.cpp does not list it."""

    description: str
    fix: str
    name: str = ""

    @property
    def message(self) -> str:
        """`An NVIDIA GPU is not used`."""
        article = "" if self.name else "An "
        return f"{article}{self.description} is not used"


@dataclass(frozen=True)
class Machine:
    """`devices` are in llama.cpp's order. `ram_free` is bytes available without swapping.

    `cores` are the physical cores available to this process. `extra_kernels` is whether llama.cpp's optimised
    CPU kernels, which need repacked weights, work here; with `amx`, some of them use AMX tiles. `attention`
    is the cost of attention on the CPU. llama.cpp cannot be asked about plans for a `hypothetical` machine.
    """

    devices: tuple[Device, ...]
    ram_total: int
    ram_free: int
    cores: int
    unusable: tuple[UnusableGpu, ...] = ()
    extra_kernels: bool = True
    amx: bool = False
    attention: AttentionCosts = USUAL_COSTS
    hypothetical: bool = False


def ram_margin(machine: Machine) -> int:
    """Bytes of RAM that a plan leaves free."""
    return int(machine.ram_total * RAM_MARGIN)
