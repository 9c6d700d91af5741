"""Corrections to predicted memory, learned from loads that failed.

A prediction can be too low on a machine that was never tested. After a load that ran out of memory, the plan
is made again with less memory, and the difference is stored for the next time. The shortage may also have
been temporary, so a correction does not hold for ever.
"""

import contextlib
import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ossctl.app.local_date import local_date
from ossctl.app.placement.state_file import read_state, write_state
from ossctl.errors import OssctlError
from ossctl.planning.machine import MIB, Machine
from ossctl.planning.plan import Plan
from ossctl.planning.shape import ModelShape
from ossctl.settings import Paths

_LIFETIME = dt.timedelta(days=7)
_MORE, _MORE_BYTES = 0.1, 256 * MIB  # of free memory: less varies from load to load


@dataclass(frozen=True)
class Correction:
    """What plans for `model` leave out since a load on `date`, when `free` bytes were free."""

    model: str
    n_bytes: int
    date: dt.date
    free: int

    @property
    def ends(self) -> dt.date:
        """The day from which the whole memory is planned with again."""
        return self.date + _LIFETIME

    def holds(self, today: dt.date, free: int) -> bool:
        """False after some days, or if much more memory is free: another program may have held it."""
        return today < self.ends and free - self.free < max(_MORE_BYTES, _MORE * self.free)


class Corrections:
    """Bytes to subtract from the memory of each device, by machine and model, in the file `path`."""

    def __init__(self, path: Path, today: dt.date | None = None) -> None:
        self._path = path
        self._today = today or local_date()

    @classmethod
    def saved(cls) -> "Corrections":
        """Those in the state folder."""
        return cls(Paths.from_environment().state / "corrections.json")

    def get(self, machine: Machine, shape: ModelShape) -> int:
        """The correction in bytes, 0 if there is none that holds."""
        found = self._read().get(_key(machine, shape))
        return found.n_bytes if found and found.holds(self._today, _free(machine)) else 0

    def all(self) -> list[Correction]:
        """The corrections that may hold, the oldest first."""
        return sorted(self._read().values(), key=lambda each: each.date)

    def remember(self, machine: Machine, shape: ModelShape, n_bytes: int) -> None:
        """Store a correction, if the file is writable."""
        correction = Correction(shape.name, n_bytes, self._today, _free(machine))
        self._write({**self._read(), _key(machine, shape): correction})

    def forget(self, machine: Machine, shape: ModelShape) -> None:
        """Delete a correction, because a load did without it."""
        known = self._read()
        if known.pop(_key(machine, shape), None) is not None:
            self._write(known)

    def reset(self) -> None:
        """Delete all corrections. Raises OssctlError."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise OssctlError(f"cannot delete {self._path}: {error.strerror}") from None

    def _read(self) -> dict[str, Correction]:
        found = {}
        for key, record in read_state(self._path).items():
            with contextlib.suppress(msgspec.ValidationError):
                found[key] = msgspec.convert(record, Correction)
        return {key: each for key, each in found.items() if self._today < each.ends}

    def _write(self, corrections: Mapping[str, Correction]) -> None:
        write_state(self._path, {key: msgspec.to_builtins(each) for key, each in corrections.items()})


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


def _free(machine: Machine) -> int:
    return sum(device.free for device in machine.devices) if machine.devices else machine.ram_free


def _key(machine: Machine, shape: ModelShape) -> str:
    parts = [shape.name, shape.file_bytes, machine.ram_total]
    parts += [(device.name, device.description, device.total) for device in machine.devices]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
