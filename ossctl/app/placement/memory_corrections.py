"""What earlier loads have shown: memory that a plan cannot have, by machine and model.

A prediction may be wrong on a machine that nobody has tried. After a load that failed for memory, the plan is
made again with a little less, and what was too much is kept in a file for the next time.
"""

import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from ossctl.planning.machine import Machine
from ossctl.planning.plan import Plan
from ossctl.planning.shape import ModelShape


class Corrections:
    """Bytes to leave free on every device, for a model on a machine; kept in the file at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, machine: Machine, shape: ModelShape) -> int:
        """0 if nothing has failed yet."""
        found = self._read().get(_key(machine, shape), 0)
        return found if isinstance(found, int) and found > 0 else 0

    def remember(self, machine: Machine, shape: ModelShape, n_bytes: int) -> None:
        """Keep the correction. A file that cannot be written is no reason to fail."""
        records = {**self._read(), _key(machine, shape): n_bytes}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=self._path.parent, delete=False, encoding="utf-8"
            ) as file:
                json.dump(records, file, indent=1)
            Path(file.name).replace(self._path)
        except OSError:
            return

    def _read(self) -> dict[str, object]:
        try:
            records = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return records if isinstance(records, dict) else {}


def with_less(machine: Machine, n_bytes: int) -> Machine:
    """`machine` with so many bytes less free on every device; without one, with so much of its RAM not there.

    What a plan misses on a device is what its driver takes besides. In RAM it is a limit that nobody can see.
    """
    if not machine.devices:
        return replace(machine, ram_free=max(0, min(machine.ram_free, machine.ram_total - n_bytes)))
    devices = tuple(replace(device, free=max(0, device.free - n_bytes)) for device in machine.devices)
    return replace(machine, devices=devices)


def correction(machine: Machine, plan: Plan, step: int) -> int:
    """What `with_less` takes to make `plan`, made for this machine with less, too large by `step` bytes."""
    if not machine.devices:
        return machine.ram_total - (plan.machine.ram_free - plan.headroom - step)
    less = max(0, machine.devices[0].free - plan.machine.devices[0].free)
    return less + plan.headroom + step


def _key(machine: Machine, shape: ModelShape) -> str:
    parts = [shape.name, shape.file_bytes, machine.ram_total]
    parts += [(device.name, device.description, device.total) for device in machine.devices]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
