"""Whether settings fit a machine, and the largest ones that do."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ossctl.planning.machine import RAM_MARGIN, Device, Machine, ram_margin
from ossctl.planning.memory import Prediction, predict
from ossctl.planning.settings import LoadMode, Settings
from ossctl.planning.shape import ModelShape


class Capacity:
    """The memory of `devices` and of the machine's RAM, for one model."""

    def __init__(self, machine: Machine, shape: ModelShape, devices: tuple[Device, ...]) -> None:
        self._machine = machine
        self._shape = shape
        self._devices = devices

    def devices_of(self, settings: Settings) -> tuple[Device, ...]:
        """The devices that `settings` name."""
        return tuple(device for device in self._devices if device.name in settings.devices)

    def predict(self, settings: Settings) -> Prediction:
        """The memory use of `settings`."""
        return predict(self._shape, settings, self.devices_of(settings))

    def fitting(self, settings: Settings) -> Settings | None:
        """`settings` with the fastest way of loading that fits, or None if none does."""
        return next((option for option in _ways_to_load(settings) if self.fits(option)), None)

    def fits(self, settings: Settings) -> bool:
        """Whether `settings` fit as they are."""
        return min(self._free(settings)) >= 0

    def largest(
        self, settings: Settings, low: int, high: int, step: int, change: Callable[[Settings, int], Settings]
    ) -> Settings:
        """`change(settings, n)` for the largest n up to `high` that fits, where `settings` have n = `low`.

        n is a multiple of `step`, or `high` itself.
        """
        if high <= low:
            return settings
        good, bad = low // step, -(-high // step)
        best, maximum = settings, change(settings, high)
        free, missing = self._most_free(best), self._most_free(maximum)
        if min(missing) >= 0:
            best, good = maximum, bad
        n_steps = 0
        while bad - good > 1:
            # Memory use is piecewise linear; a bisection now and then bounds the number of steps.
            n_steps += 1
            middle = (good + bad) // 2 if n_steps % 5 == 0 else _interpolated(good, free, bad, missing)
            middle = min(max(middle, good + 1), bad - 1)
            candidate = change(settings, middle * step)
            left = self._most_free(candidate)
            if min(left) >= 0:
                good, free, best = middle, left, candidate
            else:
                bad, missing = middle, left
        return self.fitting(best) or settings

    def _free(self, settings: Settings) -> tuple[int, ...]:
        """Bytes left in RAM and on each device, negative if there is too little memory."""
        devices, prediction = self.devices_of(settings), self.predict(settings)
        uses = list(zip(devices, prediction.devices, strict=True))
        shared = sum(device.ram_share(use.total) for device, use in uses)
        ram = self._machine.ram_free - ram_margin(self._machine) - prediction.host.total - shared
        if settings.load_mode is LoadMode.READ or not settings.flash_attention:
            ram -= int(RAM_MARGIN * self._machine.ram_total)  # unlike a mapped file, it cannot be evicted
        return ram, *(device.free - use.total for device, use in uses)

    def _most_free(self, settings: Settings) -> tuple[int, ...]:
        """Bytes left with the way of loading that takes the least memory."""
        *_, smallest = _ways_to_load(settings)
        return self._free(smallest)


def _interpolated(good: int, free: Sequence[int], bad: int, missing: Sequence[int]) -> int:
    """Where the first memory is used up, interpolating between what is left at `good` and at `bad`."""
    pairs = zip(free, missing, strict=True)
    return good + min((bad - good) * more // (more - less) for more, less in pairs if less < 0)


def _ways_to_load(settings: Settings) -> Iterator[Settings]:
    """`settings` with each possible load mode and repacking, from the fastest to the least memory.

    Weights that a GPU takes from RAM for every ubatch are copied faster from pinned memory than from a mapped
    file.
    """
    if settings.devices and settings.experts_in_ram:
        yield replace(settings, load_mode=LoadMode.READ)
    if settings.repack:
        yield settings
    yield replace(settings, load_mode=LoadMode.MMAP, repack=False)
