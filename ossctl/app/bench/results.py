"""What a benchmark measures: the document of --json, `ossctl.bench/1`."""

from collections.abc import Sequence
from typing import Any, Self

import msgspec

from ossctl.app.bench.estimate import Estimate, mean_of, ratio_of
from ossctl.app.bench.passes import Pass, Phase, Work

SCHEMA = "ossctl.bench/1"
_JOULES_PER_WH = 3600.0


class Speeds(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens per second of ossctl and of `llama_decode` alone; `ratio` is of the first to the second.

    `cpu_ratio` is that of the CPU times, which other programs disturb less: llama.cpp's to ossctl's.
    `llama_bench` and `llama_server` are what llama.cpp's own programs report, if they are installed.
    """

    ossctl: Estimate
    llama_cpp: Estimate
    ratio: Estimate
    cpu_ratio: Estimate
    llama_bench: Estimate | None = None
    llama_server: Estimate | None = None

    @classmethod
    def of(cls, ours: Sequence[Phase], bare: Sequence[Phase]) -> Self:
        speeds = [[phase.speed for phase in phases] for phases in (ours, bare)]
        cpus = [[max(phase.cpu, 1e-9) / phase.tokens for phase in phases] for phases in (bare, ours)]
        return cls(
            ossctl=mean_of(speeds[0]),
            llama_cpp=mean_of(speeds[1]),
            ratio=ratio_of(*speeds),
            cpu_ratio=ratio_of(*cpus),
        )


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Speeds for one length and number of sequences; all sequences are counted together.

    `wh_per_1000_tokens` is the energy of ossctl's generated tokens, if the machine counts it.
    """

    sequences: int
    prompt_tokens: int
    generated_tokens: int
    prefill: Speeds
    generation: Speeds
    wh_per_1000_tokens: float | None = None

    @classmethod
    def of(cls, work: Work, ours: Sequence[Pass], bare: Sequence[Pass]) -> Self:
        return cls(
            sequences=work.sequences,
            prompt_tokens=work.prompt_tokens,
            generated_tokens=work.generated_tokens,
            prefill=Speeds.of([each.prefill for each in ours], [each.prefill for each in bare]),
            generation=Speeds.of([each.generation for each in ours], [each.generation for each in bare]),
            wh_per_1000_tokens=_energy([each.generation for each in ours]),
        )


def _energy(phases: Sequence[Phase]) -> float | None:
    joules = [phase.joules for phase in phases if phase.joules is not None]
    if len(joules) < len(phases):
        return None
    return 1000 * sum(joules) / sum(phase.tokens for phase in phases) / _JOULES_PER_WH


class Copying(msgspec.Struct, frozen=True, kw_only=True):
    """The generation of an answer that copies its prompt: tokens per second without and with drafts.

    `ratio` is that of the second to the first. The tokens are those of all rounds with drafts.
    """

    prompt_tokens: int
    generated_tokens: int
    drafted_tokens: int
    accepted_tokens: int
    plain: Estimate
    drafting: Estimate
    ratio: Estimate


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds until something is there: `what` is startup, cold, disk or warm.

    `llama_server` is the same for llama-server, if it is installed.
    """

    what: str
    prompt_tokens: int
    seconds: Estimate
    llama_server: Estimate | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that differs from the plan's, and the speeds with it as a multiple of the plan's.

    `option` is what sets it on the command line, "" if nothing does.
    """

    name: str
    value: str
    planned: str
    option: str
    prefill: Estimate
    generation: Estimate


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """What changes of the plan bring. `suggested` are options; together they bring what `together` says."""

    changes: list[Change]
    suggested: list[str]
    together: Change | None = None


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where a benchmark ran."""

    processor: str
    cores: int
    ram_bytes: int
    devices: list[str]


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The model, by what a comparison needs to tell it from others."""

    name: str
    file: str
    bytes: int
    fingerprint: str


class BenchReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured; less if it was interrupted.

    `plan` and `batch_plan` are the settings of `lengths` and of `batches`. `noise` is the largest half of a
    95 % interval, as a share of the speed. `signal` is what interrupted the measurement, or 0.
    """

    schema: str = SCHEMA
    date: str
    ossctl: str
    llama_cpp: str
    machine: Machine
    model: Subject
    plan: dict[str, Any]
    batch_plan: dict[str, Any] | None
    lengths: list[Row]
    batches: list[Row]
    copying: Copying | None = None
    waits: list[Wait]
    tuning: Tuning | None
    noise: float | None
    seconds: float
    signal: int = 0


def record_of(report: BenchReport) -> dict[str, Any]:
    """The document of --json."""
    record: dict[str, Any] = msgspec.to_builtins(report)
    return record | {"complete": not record.pop("signal")}


def noise_of(lengths: Sequence[Row] = (), batches: Sequence[Row] = ()) -> float | None:
    """The largest error of the speeds that are reported; None if nothing was repeated.

    The prompts of `batches` are too short to say how fast prefill is.
    """
    reported = [
        *(speeds for row in lengths for speeds in (row.prefill, row.generation)),
        *(row.generation for row in batches),
    ]
    sides = [side for speeds in reported for side in (speeds.ossctl, speeds.llama_cpp)]
    return max((side.error for side in sides if side.error is not None), default=None)
