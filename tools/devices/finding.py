"""What a check has found."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """`LEFT_OUT` is no verdict on the device: there was no memory, no time or no peer."""

    OK = "ok"
    FAILED = "failed"
    LEFT_OUT = "left out"


@dataclass(frozen=True)
class Finding:
    """One check's verdict and why, and figures for programs (bytes, seconds, tokens a second)."""

    check: str
    verdict: Verdict
    message: str
    figures: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Finding":
        """Of what `as_record` has made."""
        return cls(**{**record, "verdict": Verdict(record["verdict"])})

    def as_record(self) -> dict[str, Any]:
        return asdict(self)


def judged(check: str, faults: list[str], message: str, figures: dict[str, Any]) -> Finding:
    """Failed for `faults`, if there are any."""
    if faults:
        return Finding(check, Verdict.FAILED, "; ".join([*faults, message]), figures)
    return Finding(check, Verdict.OK, message, figures)
