"""Two benchmarks side by side."""

from collections.abc import Iterator
from math import exp, hypot, log
from pathlib import Path

import msgspec

from ossctl.app.bench.estimate import Estimate
from ossctl.app.bench.results import SCHEMA, BenchReport, Copying, Row
from ossctl.errors import UsageError


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """A speed as a multiple of the earlier one, or the earlier wait as a multiple of a wait.

    So more than 1 is faster.
    """

    what: str
    before: float
    now: float
    ratio: Estimate

    @property
    def meaning(self) -> str:
        """`12 % faster`, or that the difference may be chance."""
        if self.ratio.error is None:
            return "measured only once"
        if not self.ratio.excludes(1.0):
            return "no significant difference"
        percent = abs(self.ratio.value - 1) * 100
        return f"{percent:.0f} % {'faster' if self.ratio.value > 1 else 'slower'}"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """`different` is what else changed: the machine, the model, versions, settings."""

    before: str  # its date
    different: list[str]
    ratios: list[Ratio]


def read_report(path: Path) -> BenchReport:
    """The report in a file of `ossctl bench --json`. Raises UsageError."""
    hint = "--compare takes the output of `ossctl bench --json`."
    try:
        report = msgspec.json.decode(path.read_bytes(), type=BenchReport)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not a benchmark: {error}", hint) from None
    if report.schema != SCHEMA:
        raise UsageError(f"{path} has the schema {report.schema}, not {SCHEMA}", hint)
    return report


def compared(now: BenchReport, before: BenchReport) -> Comparison:
    """What is in both."""
    return Comparison(
        before=before.date,
        different=[*_differences(now, before)],
        ratios=[
            *_rows(now.lengths, before.lengths),
            *_rows(now.batches, before.batches),
            *_copying(now.copying, before.copying),
            *_waits(now, before),
        ],
    )


def _rows(now: list[Row], before: list[Row]) -> Iterator[Ratio]:
    earlier = {(row.sequences, row.prompt_tokens): row for row in before}
    for row in now:
        if (old := earlier.get((row.sequences, row.prompt_tokens))) is None:
            continue
        where = f"{row.prompt_tokens:,} tokens"
        if row.sequences > 1:
            where = f"{row.sequences} sequences"
        for phase in ("prefill", "generation"):
            new_speed, old_speed = getattr(row, phase).ossctl, getattr(old, phase).ossctl
            yield _speed(f"{phase}, {where}", old_speed, new_speed)
        if (new := row.generation.llama_server) and (past := old.generation.llama_server):
            yield _speed(f"llama-server, {where}", past, new)


def _copying(now: Copying | None, before: Copying | None) -> Iterator[Ratio]:
    if now and before and now.prompt_tokens == before.prompt_tokens:
        yield _speed("generation, copying", before.drafting, now.drafting)


def _waits(now: BenchReport, before: BenchReport) -> Iterator[Ratio]:
    earlier = {(wait.what, wait.prompt_tokens): wait for wait in before.waits}
    for wait in now.waits:
        if (old := earlier.get((wait.what, wait.prompt_tokens))) is None:
            continue
        what = f"first token, {wait.what}" if wait.prompt_tokens else wait.what
        yield _wait(what, old.seconds, wait.seconds)
        if wait.llama_server and old.llama_server:
            yield _wait(f"llama-server, {what}", old.llama_server, wait.llama_server)


def _speed(what: str, before: Estimate, now: Estimate) -> Ratio:
    return Ratio(what=what, before=before.value, now=now.value, ratio=quotient(now, before))


def _wait(what: str, before: Estimate, now: Estimate) -> Ratio:
    return Ratio(what=what, before=before.value, now=now.value, ratio=quotient(before, now))


def quotient(first: Estimate, second: Estimate) -> Estimate:
    """`first` / `second`, which are independent: the squares of their errors add up."""
    value, rounds = first.value / second.value, min(first.rounds, second.rounds)
    if first.high is None or second.high is None:
        return Estimate(value, None, None, rounds)
    half = hypot(log(first.high / first.value), log(second.high / second.value))
    return Estimate(value, value * exp(-half), value * exp(half), rounds)


def _differences(now: BenchReport, before: BenchReport) -> Iterator[str]:
    pairs = [
        (
            "model",
            f"{before.model.name}, {before.model.fingerprint[:8]}",
            f"{now.model.name}, {now.model.fingerprint[:8]}",
        ),
        ("processor", before.machine.processor, now.machine.processor),
        ("cores", before.machine.cores, now.machine.cores),
        ("devices", before.machine.devices, now.machine.devices),
        ("ossctl", before.ossctl, now.ossctl),
        ("llama.cpp", before.llama_cpp, now.llama_cpp),
    ]
    pairs += [(name, before.plan.get(name), value) for name, value in now.plan.items()]
    for name, old, new in pairs:
        if old != new:
            yield f"{name}: {_shown(old)} before, {_shown(new)} now"


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
