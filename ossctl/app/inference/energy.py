"""The energy that work takes, where the machine counts it.

Counters are of whole processor packages (RAPL) and whole NVIDIA boards: other programs on them count as well,
and the rest of the machine does not.
"""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ossctl.runtime.devices import list_devices

_POWERCAP = Path("/sys/class/powercap")
_MICRO, _MILLI = 1e-6, 1e-3
_JOULES_PER_WH = 3600.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Energy:
    """`joules` counted by all `counters`, which are names of packages and PCI addresses of boards."""

    joules: float
    counters: tuple[str, ...]

    @property
    def wh(self) -> float:
        return self.joules / _JOULES_PER_WH

    def report(self, n_tokens: int) -> dict[str, object]:
        """The field of `--report`, for `n_tokens` generated tokens."""
        per_thousand = round(1000 * self.wh / n_tokens, 6) if n_tokens else None
        return {"wh": round(self.wh, 6), "wh_per_1000_tokens": per_thousand, "counters": self.counters}


@dataclass
class EnergyCounter:
    """A counter that starts again from 0 after `wraps_at` joules. It must be read more often than that."""

    name: str
    read: Callable[[], float]  # joules; raises OSError, ValueError
    wraps_at: float = 0.0

    def __post_init__(self) -> None:
        self.joules = 0.0  # since it was created
        self._last = self.read()

    def update(self) -> None:
        now = self.read()
        wrapped = self.wraps_at if now < self._last else 0.0
        self.joules += max(0.0, now - self._last + wrapped)
        self._last = now


class EnergyMeter:
    """Sums counters from now on."""

    def __init__(self, counters: Sequence[EnergyCounter]) -> None:
        self._counters = list(counters)
        self._devices = set[str]()
        self._failed = False

    @classmethod
    def of_machine(cls, devices: Collection[str]) -> "EnergyMeter":
        """The processor's counters, and those of the boards among `devices`, by llama.cpp's names."""
        meter = cls([*package_counters(_POWERCAP)])
        meter.add_boards(devices)
        return meter

    def add_boards(self, devices: Collection[str]) -> None:
        """From now on, count also those boards among `devices` that are not counted yet."""
        new = {*devices} - self._devices
        if not new or self._failed:
            return
        self._devices |= new
        addresses = [each.device_id for each in list_devices("CUDA") if each.name in new]
        if addresses:
            self._counters += board_counters(addresses)

    def read(self) -> Energy | None:
        """What was counted so far; None without counters, or if one can't be read any more."""
        try:
            for counter in self._counters:
                counter.update()
        except (OSError, ValueError) as error:
            _log.info("energy is not counted any more: %s", error)
            self._counters, self._failed = [], True
        if not self._counters:
            return None
        return Energy(
            sum(counter.joules for counter in self._counters),
            tuple(counter.name for counter in self._counters),
        )


def package_counters(powercap: Path) -> Iterator[EnergyCounter]:
    """RAPL's counters of whole packages, of Intel and AMD; often only root may read them.

    https://docs.kernel.org/power/powercap/powercap.html
    """
    for zone in sorted(powercap.glob("intel-rapl:*")):
        with contextlib.suppress(OSError, ValueError):
            name = (zone / "name").read_text().strip()
            if name.startswith("package"):
                wraps_at = int((zone / "max_energy_range_uj").read_text()) * _MICRO
                yield EnergyCounter(name, _microjoules_in(zone / "energy_uj"), wraps_at)


def _microjoules_in(path: Path) -> Callable[[], float]:
    return lambda: int(path.read_text()) * _MICRO


def board_counters(addresses: Sequence[str]) -> Iterator[EnergyCounter]:
    """NVML's counters of the boards at these PCI addresses. Needs the extra `energy`, and Volta or later."""
    try:
        import pynvml
    except ImportError:
        _log.info("the energy of GPUs is not counted: nvidia-ml-py is not installed")
        return

    def read(address: str) -> float:
        try:
            handle = pynvml.nvmlDeviceGetHandleByPciBusId(address)
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) * _MILLI
        except pynvml.NVMLError as error:
            raise OSError(str(error)) from None

    for address in addresses:
        with contextlib.suppress(pynvml.NVMLError, OSError):
            pynvml.nvmlInit()  # counts how often it is called
            yield EnergyCounter(address, partial(read, address))
