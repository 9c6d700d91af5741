"""The result of planning: settings, the memory that they take, and who decided them."""

from collections.abc import Mapping
from dataclasses import dataclass

from ossctl.planning.machine import Device, Machine, ram_margin
from ossctl.planning.memory import Prediction
from ossctl.planning.settings import Settings
from ossctl.planning.shape import ModelShape
from ossctl.planning.workload import Workload

COMFORTABLE_CTX = 32_768  # tokens: a few files and an answer with long reasoning
SHORT_CTX = 8_192  # tokens; plans with less mention it


@dataclass(frozen=True)
class Plan:
    """How to load `shape` on `machine`. `devices` are those named in `settings`, in the same order.

    `origins` maps the name of each override to "user" or "plan". `tier` is the number of better tiers that
    did not fit. `basis` are the settings before some context or generation speed was traded for a larger
    ubatch.
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
        """A sort key, larger for better plans: placement first, then sequences, context and ubatch."""
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
    def headroom(self) -> int:
        """Free bytes on the fullest device, or in RAM if no device is used."""
        uses = zip(self.devices, self.prediction.devices, strict=True)
        ram = self.machine.ram_free - ram_margin(self.machine) - self.prediction.host.total
        return min((device.free - use.total for device, use in uses), default=ram)
