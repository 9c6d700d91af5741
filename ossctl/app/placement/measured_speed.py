"""Speeds that `ossctl bench` has measured here, by model file and settings."""

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ossctl.app.placement.computed_by import speed_key
from ossctl.app.placement.state_file import read_state, write_state
from ossctl.planning.settings import Settings
from ossctl.settings import Paths

_MAX_RECORDS = 64


@dataclass(frozen=True)
class LengthSpeed:
    """Tokens per second for a prompt of `tokens`, and for one sequence behind it."""

    tokens: int
    prefill: float
    generation: float


@dataclass(frozen=True)
class BatchSpeed:
    """Tokens per second of `sequences` together."""

    sequences: int
    generation: float


@dataclass(frozen=True)
class MeasuredSpeed:
    """What was measured on `date`, YYYY-MM-DD. Speeds are known to a share of ±`noise`, if repeated."""

    date: str
    noise: float | None = None
    lengths: tuple[LengthSpeed, ...] = ()
    batches: tuple[BatchSpeed, ...] = ()


@dataclass(frozen=True)
class MeasuredSpeeds:
    """The speeds in the file `path`, the latest last."""

    path: Path

    @classmethod
    def saved(cls) -> "MeasuredSpeeds":
        """Those in the state folder."""
        return cls(Paths.from_environment().state / "speeds.json")

    def get(self, model: Path, settings: Settings) -> MeasuredSpeed | None:
        """What was measured of a model file with settings of the same speed."""
        if not (records := read_state(self.path)):
            return None
        with contextlib.suppress(OSError, KeyError, msgspec.ValidationError):
            return msgspec.convert(records[speed_key(model, settings)], MeasuredSpeed)
        return None

    def remember(self, model: Path, settings: Settings, speed: MeasuredSpeed) -> None:
        """Add what was measured to what is known of the same model and settings, if the file is writable."""
        try:
            key = speed_key(model, settings)
        except OSError:
            return
        known = self.get(model, settings)
        if known is not None:
            lengths, batches = speed.lengths or known.lengths, speed.batches or known.batches
            speed = replace(speed, lengths=lengths, batches=batches)
        records = {name: record for name, record in read_state(self.path).items() if name != key}
        records[key] = msgspec.to_builtins(speed)
        write_state(self.path, dict([*records.items()][-_MAX_RECORDS:]))
