"""A finished plan: settings, what they take, and where each value comes from."""

from collections.abc import Mapping
from dataclasses import dataclass

from ossctl.planning.machine import Device, Machine, ram_margin
from ossctl.planning.memory import Prediction
from ossctl.planning.settings import Settings
from ossctl.planning.shape import ModelShape
from ossctl.planning.workload import Workload

COMFORTABLE_CTX = (
    32_768  # tokens; below, the answer of a long reasoning and a few files no longer fit together
)
SHORT_CTX = 8_192  # tokens; below, a plan says so


@dataclass(frozen=True)
class Plan:
    """How `shape` is loaded on `machine`. `devices` are those that `settings` name, in the same order.

    `origins` says of every setting whether it was given ("user") or decided here ("plan"). `tier` counts the
    better kinds of placement that did not fit. `basis` is the settings before a little of them was given for
    a larger ubatch.
    """

    machine: Machine
    shape: ModelShape
    workload: Workload
    settings: Settings
    devices: tuple[Device, ...]
    prediction: Prediction
    origins: Mapping[str, str]
    basis: Settings
    tier: int = 0

    @property
    def quality(self) -> tuple[int, ...]:
        """Plans in order of preference: the larger, the better.

        The kind of placement comes first, then layers and experts that GPUs can hold, then as many sequences
        and as much context as there is room for, then the size of the ubatch.
        """
        basis = self.basis
        return (
            -self.tier,
            basis.gpu_layers,
            -len(basis.experts_in_ram),
            basis.streams,
            basis.parallel,
            basis.ctx,
            self.settings.ubatch,
        )

    @property
    def all_on_gpu(self) -> bool:
        return self.settings.gpu_layers == self.shape.n_layers + 1 and not self.settings.experts_in_ram

    @property
    def spare(self) -> int:
        """Bytes that the fullest device has left, or the RAM if there is none."""
        uses = zip(self.devices, self.prediction.devices, strict=True)
        ram = self.machine.ram_free - ram_margin(self.machine) - self.prediction.host.total
        return min((device.free - use.total for device, use in uses), default=ram)
