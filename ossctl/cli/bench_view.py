"""What `ossctl bench` prints: progress, tables with bars, suggestions, a comparison."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

from ossctl.cli.output import Output, columns
from ossctl.text import counted, duration, harmless

if TYPE_CHECKING:
    from ossctl.app.bench.comparison import Comparison
    from ossctl.app.bench.estimate import Estimate
    from ossctl.app.bench.results import BenchReport, Row, Speeds, Tuning

_BAR = 24  # characters
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_PRECISE = 0.05
_PEERS = ("llama_bench", "llama_server")
_WAITS = {
    "startup": "program start",
    "cold": "cold: program start, model load, prompt",
    "disk": "cold, with the prompt in the disk cache",
    "warm": "warm: model loaded, prompt in the KV cache",
}


class Progress:
    """Notes what is measured, and on a terminal shows it in a line that changes."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._status: Any = None

    def remarks(self, remarks: Sequence[str]) -> None:
        for remark in remarks:
            self._out.warning(harmless(remark))

    def expects(self, seconds: float) -> None:
        self._out.note(f"This takes about {duration(seconds)}; Ctrl-C ends it and shows what is complete.")

    def step(self, what: str) -> None:
        if self._status is not None:
            self._status.update(f"measuring: {what}" if what != "loading" else what)

    def __enter__(self) -> Self:
        if self._out.is_live:
            self._status = self._out.console().status("")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()


def bench_progress(out: Output) -> Progress:
    """Progress on stderr."""
    return Progress(out)


def bench_lines(report: "BenchReport", out: Output) -> Iterator[str]:
    """The tables, and what to know about them."""
    machine = report.machine
    devices = f", {', '.join(machine.devices)}" if machine.devices else ""
    yield f"{harmless(report.model.name)} on {machine.processor}, {counted(machine.cores, 'core')}{devices}"
    blocks = out.shows(_EIGHTHS)
    if report.lengths:
        yield from _table("prompt", "prefill", report.lengths, blocks=blocks)
        yield from _table("depth", "generation", report.lengths, blocks=blocks)
    if report.batches:
        yield from _table("sequences", "generation", report.batches, blocks=blocks)
    yield from _copying(report)
    yield from _waits(report)
    yield from _energy(report)
    yield ""
    yield (
        "llama.cpp: `llama_decode` alone, in the same context. ratio: the speed of ossctl "
        "over that of llama.cpp."
    )
    if report.noise is not None and report.noise >= _PRECISE:
        how = f"up to ±{report.noise * 100:.0f} %" if report.noise < 1 else "more than ±100 %"
        yield f"The machine is noisy: speeds are uncertain by {how}."
    if report.tuning is not None:
        yield from _tuning(report.tuning, _section(report))


def _table(heading: str, phase: str, rows: "Sequence[Row]", *, blocks: bool) -> Iterator[str]:
    yield ""
    speeds: list[Speeds] = [getattr(row, phase) for row in rows]
    most = max(each.ossctl.value for each in speeds)
    peers = [name for name in _PEERS if any(getattr(each, name) for each in speeds)]
    titles = [name.replace("_", "-") for name in peers]
    lines = [(heading, f"{phase}, tokens/s", "", "llama.cpp", "ratio", *titles, "")]
    for row, each in zip(rows, speeds, strict=True):
        name = f"{row.sequences}" if heading == "sequences" else f"{row.prompt_tokens:,}"
        bar = _bar(each.ossctl.value / most, blocks=blocks)
        found = [getattr(each, peer) for peer in peers]
        theirs = [_number(estimate.value) if estimate else "" for estimate in found]
        ours = (_number(each.ossctl.value), _error(each.ossctl), _number(each.llama_cpp.value))
        lines.append((name, *ours, f"{each.ratio.value:.3f}", *theirs, bar))
    yield from columns(lines, right=range(5 + len(peers)))


def _number(speed: float) -> str:
    return f"{speed:,.0f}" if speed >= 100 else f"{speed:.1f}"


def _error(estimate: "Estimate") -> str:
    if estimate.error is None:
        return ""
    return f"±{estimate.error * 100:.0f} %" if estimate.error < 1 else "unknown"


def _bar(share: float, *, blocks: bool) -> str:
    if not blocks:
        return "#" * max(1, round(share * _BAR))
    whole, part = divmod(round(share * _BAR * 8), 8)
    return (_EIGHTHS[-1] * whole + _EIGHTHS[part]).rstrip() or _EIGHTHS[1]


def _copying(report: "BenchReport") -> Iterator[str]:
    if (copying := report.copying) is None:
        return
    yield ""
    plain, drafting = copying.plain, copying.drafting
    share = f"{copying.accepted_tokens:,} of {copying.drafted_tokens:,} drafted tokens accepted"
    accepted = share if copying.drafted_tokens else "no tokens were drafted"
    rows = [
        ("copying the prompt", "generation, tokens/s", "", "", ""),
        ("  without drafts", _number(plain.value), _error(plain), "", ""),
        ("  with drafts", _number(drafting.value), _error(drafting), f"{copying.ratio.value:.2f}x", accepted),
    ]
    yield from columns(rows, right=(1, 2, 3))


def _waits(report: "BenchReport") -> Iterator[str]:
    if not report.waits:
        return
    yield ""
    n_tokens = max(wait.prompt_tokens for wait in report.waits)
    title = f"time to first token, prompt of {n_tokens:,} tokens"
    peer = "llama-server" if any(wait.llama_server for wait in report.waits) else ""
    rows = [(title, "", "", peer)]
    for wait in report.waits:
        theirs = _seconds(wait.llama_server.value) if wait.llama_server else ""
        rows.append((f"  {_WAITS[wait.what]}", _seconds(wait.seconds.value), _error(wait.seconds), theirs))
    yield from columns(rows, right=(1, 2, 3))


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if seconds < 1 else f"{seconds:,.2f} s"


def _energy(report: "BenchReport") -> Iterator[str]:
    counted_rows = [row for row in (*report.lengths, *report.batches) if row.wh_per_1000_tokens is not None]
    if counted_rows:
        yield ""
        yield "energy: Wh per 1,000 generated tokens"
        rows = [
            (
                f"  {counted(row.sequences, 'sequence')}, {row.prompt_tokens:,} tokens",
                f"{row.wh_per_1000_tokens:.3f}",
            )
            for row in counted_rows
        ]
        yield from columns(rows, right=(1,))


def _section(report: "BenchReport") -> str:
    """The section of a config file for this model, or for all if it has been given as a file."""
    name = report.model.name
    named = (
        name.isascii() and name.replace("-", "").isalnum() and not report.model.file.startswith(f"{name}.")
    )
    return f"model.{name}" if named else "defaults"


def _tuning(tuning: "Tuning", section: str) -> Iterator[str]:
    yield ""
    lines = [("change from the plan", "prefill", "", "generation", "", "")]
    for change in tuning.changes:
        option = change.option or "(decided by the plan)"
        what = f"{change.name} {change.value} instead of {change.planned}"
        lines.append((what, *_multiple(change.prefill), *_multiple(change.generation), option))
    yield from columns(lines, right=(1, 2, 3, 4))
    yield ""
    if not tuning.suggested:
        yield "No other setting is significantly faster than the plan's."
        return
    options, together = " ".join(tuning.suggested), tuning.together
    gains = ""
    if together is not None:
        gains = f": prefill {_multiple(together.prefill)[0]}, generation {_multiple(together.generation)[0]}"
    yield f"Faster on this machine: {options}{gains}."
    for option in tuning.suggested:
        name, value = option.removeprefix("--").split(" ")
        yield f"  ossctl config set {section}.{name} {value}"


def _multiple(ratio: "Estimate") -> tuple[str, str]:
    return f"{ratio.value:.2f}x", _error(ratio)


def comparison_lines(comparison: "Comparison") -> Iterator[str]:
    """The ratios to an earlier run, and what they mean."""
    yield ""
    yield f"compared with {comparison.before}"
    yield from (f"  {harmless(line)}" for line in comparison.different)
    rows = [("", "before", "now", "", "")]
    for each in comparison.ratios:
        numbers = [_plain(each.before), _plain(each.now)]
        rows.append((f"  {each.what}", numbers[0], numbers[1], f"{each.ratio.value:.2f}x", each.meaning))
    yield from columns(rows, right=(1, 2, 3))


def _plain(value: float) -> str:
    return _number(value) if value >= 10 else f"{value:.2f}"
