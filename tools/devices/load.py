"""One load by plan, as `ossctl run` makes it: bytes planned, reported and taken, and how fast it is."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadOptions, load_model
from ossctl.app.placement.shapes import shape_of_file
from ossctl.planning.workload import Workload
from ossctl.runtime.devices import DeviceKind, list_devices
from tools.devices.finding import Finding, Verdict
from tools.devices.memory import Taken, compared
from tools.devices.speed import measure
from tools.devices.task import CPU, Task
from tools.devices.witness import Witness, free_bytes


def run(task: Task) -> Iterator[Finding]:
    """Two findings. Memory is looked at after a whole ubatch, for that is when it is fullest."""
    path = Path(task.path)
    options = task.load_options(shape_of_file(path), LoadOptions(ctx=task.ctx))
    with ExitStack() as parts:
        witness = parts.enter_context(Witness(task.device)) if _has_memory_of_its_own(task.device) else None
        seen_before = witness.free() if witness else 0
        before = free_bytes(task.device)
        started = perf_counter()
        interrupt = parts.enter_context(Interrupt())
        loaded = parts.enter_context(load_model(path, options, Workload(), interrupt, raw=True))
        seconds = perf_counter() - started
        speed = measure(loaded.runner, task.seconds)
        taken = None
        if witness:
            taken = Taken(before - free_bytes(task.device), seen_before - witness.free())
        yield compared(loaded, taken)
        yield Finding("speed", Verdict.OK, str(speed), {"load_seconds": seconds, **speed.as_record()})


def _has_memory_of_its_own(name: str) -> bool:
    """Not so for the CPU, an integrated GPU, and an RPC server, which has one client at a time besides."""
    if name == CPU:
        return False
    device = next(device for device in list_devices() if device.name == name)
    return device.kind is DeviceKind.GPU and device.backend not in ("RPC", "MTL")
