"""How much memory a worker offers of each of its devices."""

from collections.abc import Sequence

from ossctl.planning.machine import RAM_MARGIN
from ossctl.runtime.devices import BackendDevice, DeviceKind
from ossctl.runtime.host import ram
from ossctl.runtime.pulse import WHATEVER_IS_FREE


def offers_of(devices: Sequence[BackendDevice]) -> list[int]:
    """The bytes that clients may use of each device at this moment, besides what llama.cpp reports as free.

    It reports all RAM for a CPU, whatever other programs use.
    """
    return [offered_ram() if each.kind is DeviceKind.CPU else WHATEVER_IS_FREE for each in devices]


def offered_ram() -> int:
    """Bytes of RAM that clients may use at this moment."""
    memory = ram()
    return max(0, memory.free - int(memory.total * RAM_MARGIN))
