"""What one process is to do: some checks of a model in one place."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from ossctl.app.placement.load_options import LoadOptions
from ossctl.planning.shape import ModelShape

CPU = "CPU"


class Placement(StrEnum):
    """Which part of a model a device takes; the rest is in RAM."""

    WHOLE = "whole model"
    HALF = "half of the layers"
    EXPERTS = "half of the experts in RAM"


class Kind(StrEnum):
    """A module of this package; what it checks is in `CHECKS`."""

    MACHINE = "machine"
    DOCTOR = "doctor"
    REFERENCE = "reference"
    ANSWERS = "answers"
    LOAD = "load"
    BATCH = "batch"


CHECKS: dict[Kind, tuple[str, ...]] = {
    Kind.MACHINE: ("machine",),
    Kind.DOCTOR: ("doctor",),
    Kind.REFERENCE: ("reference",),
    Kind.ANSWERS: ("answers",),
    Kind.LOAD: ("memory", "speed"),
    Kind.BATCH: ("batch",),
}


@dataclass(frozen=True)
class Task:
    """`path` is the model's file, `reference` that of the CPU's logits, `server` a llama-server.

    `seconds` is how long a speed is measured, `ctx` the tokens of context, None as the plan decides.
    `addresses` are RPC servers, which are devices of every process already.
    """

    kind: Kind
    model: str = ""
    path: str = ""
    device: str = ""
    placement: Placement = Placement.WHOLE
    n_seq: int = 1
    ctx: int | None = None
    seconds: float = 5.0
    reference: str = ""
    server: str | None = None
    addresses: tuple[str, ...] = ()

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Task":
        """Of the fields as JSON has them."""
        return cls(
            **{
                **record,
                "kind": Kind(record["kind"]),
                "placement": Placement(record["placement"]),
                "addresses": tuple(record["addresses"]),
            }
        )

    def load_options(self, shape: ModelShape, options: LoadOptions) -> LoadOptions:
        """`options`, and what a user would add to them to have it loaded there."""
        if self.device == CPU:
            return replace(options, device="cpu")
        whole, with_experts = shape.n_layers + 1, len(shape.expert_layers)
        match self.placement:
            case Placement.HALF:
                return replace(options, device=self.device, gpu_layers=whole // 2)
            case Placement.EXPERTS:
                return replace(options, device=self.device, gpu_layers=whole, cpu_moe=with_experts // 2)
            case Placement.WHOLE:
                behind = 0 if with_experts else None
                return replace(options, device=self.device, gpu_layers=whole, cpu_moe=behind)
