"""What `ossctl eval ppl` prints: progress with the estimate so far, and the results."""

from collections.abc import Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from ossctl.cli.output import Output, columns
from ossctl.text import duration, harmless

if TYPE_CHECKING:
    from ossctl.app.eval.perplexity.run import ModelResult, PerplexityReport, Progress
    from ossctl.app.eval.perplexity.statistics import Divergence, Estimate

_SECONDS_BETWEEN_LINES = 10.0
_PERCENTILES = (
    ("median", "50"),
    ("90 %", "90"),
    ("95 %", "95"),
    ("99 %", "99"),
    ("99.9 %", "99.9"),
    ("maximum", "100"),
)


class PlainProgress:
    """Prints a line every ten seconds."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._last = monotonic()

    def loads(self, model: str) -> None:
        self._out.note(f"Loading {model} …")

    def remarks(self, remarks: Sequence[str]) -> None:
        for remark in remarks:
            self._out.warning(remark)

    def progress(self, progress: "Progress") -> None:
        if monotonic() - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = monotonic()
            self._out.note(f"{harmless(progress.model)}: {_so_far(progress)} · {_left(progress)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class LiveProgress:
    """Shows a bar for each model, with the estimate so far and the time left."""

    def __init__(self, out: Output) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._out = out
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[so_far]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=out.console(),
            transient=True,
        )
        self._task = self._bars.add_task("", so_far="", visible=False)

    def loads(self, model: str) -> None:
        self._bars.remove_task(self._task)
        self._task = self._bars.add_task(harmless(model), total=None, so_far="loading")

    def remarks(self, remarks: Sequence[str]) -> None:
        for remark in remarks:
            self._bars.console.print(harmless(remark), markup=False, highlight=False)

    def progress(self, progress: "Progress") -> None:
        done = progress.chunks
        self._bars.update(self._task, completed=done, total=progress.expected, so_far=_so_far(progress))

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()


def ppl_progress(out: Output) -> PlainProgress | LiveProgress:
    """The kind of progress that stderr can show."""
    return LiveProgress(out) if out.is_live else PlainProgress(out)


def _so_far(progress: "Progress") -> str:
    """`12 of 41 chunks, perplexity 7.92 ± 0.20`"""
    divergence = progress.kl_divergence
    far = "" if divergence is None else f", KL divergence {divergence.value:.4f} ± {divergence.error:.4f}"
    return f"{progress.chunks:,} of {progress.expected:,} chunks, perplexity {_ppl(progress)}{far}"


def _ppl(measured: "Progress | ModelResult") -> str:
    return _pm(measured.perplexity, 4)


def _left(progress: "Progress") -> str:
    done = progress.chunks
    return f"{duration(progress.seconds / done * max(0, progress.expected - done))} left"


def ppl_record(report: "PerplexityReport") -> dict[str, Any]:
    """The document of --json, without its schema."""
    import msgspec

    record: dict[str, Any] = msgspec.to_builtins(report)
    return record | {"complete": not record.pop("signal")}


def ppl_lines(report: "PerplexityReport") -> Iterator[str]:
    """The results: of one model with all details, of several as a table."""
    if len(report.results) == 1:
        yield from columns(_details(report, report.results[0]))
        return
    yield from columns(_rows(report), right=range(1, 9))


def _details(report: "PerplexityReport", result: "ModelResult") -> Iterator[Sequence[str]]:
    yield "model", _label(result)
    if report.base is not None:
        yield "against", _label(report.base)
    yield "text", harmless(report.text)
    yield "tokens", f"{result.tokens:,} scored in {result.chunks:,} chunks of {report.ctx:,}"
    speed = result.chunks * report.ctx / result.seconds
    yield "time", f"{duration(result.seconds)}, {speed:,.0f} tokens/s"
    yield "perplexity", _ppl(result)
    if result.divergence is not None:
        yield from _distances(result.divergence)


def _distances(found: "Divergence") -> Iterator[Sequence[str]]:
    yield "  of the other", _pm(found.base_perplexity, 4)
    yield "  ratio", f"{_pm(found.perplexity_ratio, 4)}, correlation {100 * found.correlation:.2f} %"
    yield "KL divergence", _pm(found.kl_divergence, 6)
    for name, percent in _PERCENTILES:
        yield f"  {name}", f"{found.kl_percentiles[percent]:.6f}"
    yield "Δp", _percent(found.delta_p)
    yield "  RMS", _percent(found.rms_delta_p)
    yield "same top token", _percent(found.same_top)


def _rows(report: "PerplexityReport") -> Iterator[Sequence[str]]:
    distances = ("ratio", "KL divergence", "99 %", "RMS Δp", "same top token") if report.base else ()
    yield "model", "GB", "perplexity", *distances, "tokens/s"
    for result in (*((report.base,) if report.base else ()), *report.results):
        speed = result.chunks * report.ctx / result.seconds
        cells = _distance_cells(result.divergence) if report.base else ()
        yield _label(result), f"{result.bytes / 1e9:.2f}", _ppl(result), *cells, f"{speed:,.0f}"


def _distance_cells(found: "Divergence | None") -> Sequence[str]:
    if found is None:
        return ("",) * 5
    return (
        _pm(found.perplexity_ratio, 4),
        _pm(found.kl_divergence, 5),
        f"{found.kl_percentiles['99']:.4f}",
        _percent(found.rms_delta_p),
        _percent(found.same_top),
    )


def _label(result: "ModelResult") -> str:
    """The model's name, or that of its file instead of a path."""
    return harmless(result.file if result.model.endswith(".gguf") else result.model)


def _pm(estimate: "Estimate", digits: int) -> str:
    return f"{estimate.value:.{digits}f} ± {estimate.error:.{digits}f}"


def _percent(estimate: "Estimate") -> str:
    return f"{100 * estimate.value:.2f} ± {100 * estimate.error:.2f} %"
