"""Plans of one model or of all, for this machine or another."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ossctl.app.library.inventory import list_models
from ossctl.app.library.pull import find_on_hub
from ossctl.app.library.resolve import NotPulled, hub_reference, locate
from ossctl.app.placement.fit import DoesNotFit, Fit, fit_of
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.placement.machine import hypothetical, parse_size, parse_vram, this_machine
from ossctl.app.placement.measured_speed import MeasuredSpeed, MeasuredSpeeds
from ossctl.app.placement.remote_shape import remote_shape
from ossctl.app.placement.reservation import reserved
from ossctl.app.placement.shapes import shape_of_file, shipped_shape
from ossctl.errors import UsageError
from ossctl.hub.catalogue import catalogue
from ossctl.hub.local import Origin
from ossctl.planning.machine import Machine
from ossctl.planning.plan import Plan
from ossctl.planning.planner import required_ram
from ossctl.planning.shape import ModelShape
from ossctl.planning.workload import Workload


@dataclass(frozen=True)
class MachineOptions:
    """A machine as given on the command line: `vram` as `16GiB,24GiB`, `ram` as `64GiB`, names of GPUs.

    This machine's values are used for options that are not given.
    """

    vram: str | None = None
    ram: str | None = None
    gpu: tuple[str, ...] = ()

    def machine(self, this: Callable[[], Machine] = this_machine) -> Machine:
        """The machine to plan for, which is `this` where nothing else is given. Raises UsageError."""
        if self.vram is not None and self.gpu:
            raise UsageError("--vram and --gpu cannot be combined", "Use one of them.")
        vram = None
        if self.vram is not None:
            vram = [parse_vram(size) for size in self.vram.split(",")]
        ram = None if self.ram is None else parse_size(self.ram, "--ram")
        if ram == 0:
            raise UsageError("--ram must be more than 0")
        return hypothetical(this(), vram=vram, ram=ram, cards=self.gpu)


@dataclass(frozen=True)
class Report:
    """Whether and how a model fits a machine. `model` is its name, `here` whether it is on this machine.

    `speed` is what `ossctl bench` has measured with this plan.
    """

    model: str
    machine: Machine
    fit: Fit
    here: bool
    speed: MeasuredSpeed | None = None


def plan_one(
    model: str,
    options: LoadOptions,
    workload: Workload,
    machine: Machine,
    say: Callable[[str], None],
) -> Report:
    """Plan the model that -m would load.

    A plan for a file that is here and a machine that is not hypothetical fits by what llama.cpp itself would
    reserve. `say` is called before retries, and if llama.cpp does not answer. Raises ModelError, UsageError.
    """
    path = _find_file(model)
    shape = shape_of_file(path) if path else _shape_on_hub(model, say)
    reserve = None
    if path and not machine.hypothetical and not workload.all_logits:  # other versions reserve those
        reserve = functools.partial(
            reserved, path, say=lambda reason: say(f"{reason}; the memory use is predicted instead")
        )
    fit = fit_of(shape, machine, options.drafting(workload), options.overrides(shape), reserve)
    speed = None
    if path is not None and isinstance(fit, Plan) and not machine.hypothetical:
        speed = MeasuredSpeeds.saved().get(path, fit.settings)
    return Report(model, machine, fit, path is not None, speed)


def plan_all(options: LoadOptions, workload: Workload, machine: Machine) -> list[Report]:
    """Plan the models on this machine and those of the catalogue with known shapes, largest first.

    Raises UsageError if the options suit none of them.
    """
    here = {listing.model.name: listing.shape for listing in list_models() if listing.shape is not None}
    known = {entry.name: shipped_shape(entry.variant.reference) for entry in catalogue().entries}
    shapes = {name: shape for name, shape in {**known, **here}.items() if shape is not None}
    reports = [
        Report(name, machine, _fit_among_others(shape, options, workload, machine), name in here)
        for name, shape in sorted(shapes.items(), key=lambda item: -item[1].weight_bytes)
    ]
    errors = [report.fit.error for report in reports if isinstance(report.fit, DoesNotFit)]
    if len(errors) == len(reports) and all(isinstance(error, UsageError) for error in errors):
        raise errors[0]
    return reports


@dataclass(frozen=True)
class Unplanned:
    """A model of the catalogue without a known shape. `gigabytes` is 10^9 bytes.

    `too_large` is whether its size alone exceeds the machine's memory.
    """

    model: str
    gigabytes: float
    too_large: bool


def unplanned(reports: Sequence[Report], machine: Machine) -> list[Unplanned]:
    """The models of the catalogue that are not in `reports`, largest first."""
    planned = {report.model for report in reports}
    gpus = sum(device.free - device.ram_share(device.free) for device in machine.devices)
    others = [
        Unplanned(
            entry.name, entry.variant.gigabytes, entry.variant.gigabytes * 1e9 > machine.ram_free + gpus
        )
        for entry in catalogue().entries
        if entry.name not in planned
    ]
    return sorted(others, key=lambda other: -other.gigabytes)


def _fit_among_others(shape: ModelShape, options: LoadOptions, workload: Workload, machine: Machine) -> Fit:
    """Like `fit_of`, but returns UsageError: options that do not suit this model may suit another."""
    try:
        return fit_of(shape, machine, options.drafting(workload), options.overrides(shape))
    except UsageError as error:
        return DoesNotFit(shape, required_ram(shape), error)


def _find_file(reference: str) -> Path | None:
    """The first file of a model, if the model is on this machine."""
    try:
        model = locate(reference)
    except NotPulled:
        return None
    return None if model.missing and model.origin is Origin.HUB else model.first


def _shape_on_hub(reference: str, say: Callable[[str], None]) -> ModelShape:
    """The shape of a model from this package or the hub."""
    return shipped_shape(hub_reference(reference)) or remote_shape(find_on_hub(reference, say))
