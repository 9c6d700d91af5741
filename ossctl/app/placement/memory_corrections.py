"""Corrections to predicted memory, learned from loads that failed.

A prediction can be too low on a machine that was never tested. After a load that ran out of memory, the plan
is made again with less memory, and the difference is stored for the next time.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from ossctl.app.placement.state_file import read_state, write_state
from ossctl.planning.machine import Machine
from ossctl.planning.plan import Plan
from ossctl.planning.shape import ModelShape


class Corrections:
    """Bytes to subtract from the memory of each device, by machine and model, in the file `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, machine: Machine, shape: ModelShape) -> int:
        """The correction in bytes, 0 if there is none."""
        found = read_state(self._path).get(_key(machine, shape), 0)
        return found if isinstance(found, int) and found > 0 else 0

    def remember(self, machine: Machine, shape: ModelShape, n_bytes: int) -> None:
        """Store a correction, if the file is writable."""
        write_state(self._path, {**read_state(self._path), _key(machine, shape): n_bytes})


def with_less_memory(machine: Machine, n_bytes: int) -> Machine:
    """`machine` with `n_bytes` less free memory on each device, or less RAM if it has no device.

    On devices this accounts for what drivers take. In RAM it accounts for an unknown limit, so it is
    subtracted from the total and does not lower `ram_free` further than to that.
    """
    if not machine.devices:
        return replace(machine, ram_free=max(0, min(machine.ram_free, machine.ram_total - n_bytes)))
    devices = tuple(replace(device, free=max(0, device.free - n_bytes)) for device in machine.devices)
    return replace(machine, devices=devices)


def next_correction(machine: Machine, plan: Plan, step: int) -> int:
    """The argument of `with_less_memory` for which `plan` is `step` bytes too large.

    `plan` may itself have been made for `machine` with less memory.
    """
    if not machine.devices:
        return machine.ram_total - (plan.machine.ram_free - plan.headroom - step)
    correction = max(0, machine.devices[0].free - plan.machine.devices[0].free)
    return correction + plan.headroom + step


def _key(machine: Machine, shape: ModelShape) -> str:
    parts = [shape.name, shape.file_bytes, machine.ram_total]
    parts += [(device.name, device.description, device.total) for device in machine.devices]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
