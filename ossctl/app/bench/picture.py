"""A picture of the speeds: a dot with its interval for each, and a mark for llama.cpp alone."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from ossctl.app.bench.estimate import Estimate
from ossctl.app.bench.results import BenchReport, Row, Speeds
from ossctl.app.user_text import refuse_stdout
from ossctl.storage.atomic import atomic_write
from ossctl.storage.journal import check_output_path

# distances in the units of the picture, which are pixels at its natural width
_WIDTH = 880
_LEFT, _RIGHT = 170, 730  # of the bars
_LINE, _HEAD, _GAP, _TOP, _FOOT = 28, 34, 16, 56, 34

_STYLE = """
svg { font-family: system-ui, sans-serif; --ink: #1a1f26; --soft: #5b6570; --bar: #0b66c3; --track: #e8ecf1;
  --halo: #fff; }
@media (prefers-color-scheme: dark) { svg {
  --ink: #e8ecf1; --soft: #a0abb8; --bar: #6cb4ff; --track: #2a323b; --halo: #121212; } }
text { fill: var(--ink); font-size: 14px; font-variant-numeric: tabular-nums; }
.title { font-weight: 600; font-size: 17px; } .part { font-weight: 600; font-size: 15px; }
.soft { fill: var(--soft); font-size: 12px; }
.track { fill: var(--track); } .bar { fill: var(--bar); }
.range { stroke: var(--ink); stroke-width: 1.5; } .limit { stroke: var(--ink); stroke-width: 2; fill: none; }
"""


def check_place(path: Path) -> None:
    """Raise UsageError if a picture can't be written to `path`."""
    refuse_stdout(path, "--svg")
    check_output_path(path, overwrite=True)


def save_picture(report: BenchReport, path: Path) -> None:
    """Write it as SVG. Raises OssctlError."""
    atomic_write(path, picture(report).encode())


def picture(report: BenchReport) -> str:
    """An SVG document."""
    parts = [
        ("Prompt processing by length", _lengths(report.lengths, "prefill")),
        ("Generation by length", _lengths(report.lengths, "generation")),
        (
            "Generation by number of sequences",
            [(f"{row.sequences}", row.generation) for row in report.batches],
        ),
    ]
    shown = [(title, rows) for title, rows in parts if rows]
    height = _TOP + sum(_HEAD + len(rows) * _LINE + _GAP for _, rows in shown) + _FOOT
    body = "".join([*_heading(report), *_charts(shown), *_legend(height)])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-labelledby="speeds"><title id="speeds">{escape(_spoken(shown))}</title>'
        f"<style>{_STYLE}</style>{body}</svg>\n"
    )


_Rows = Sequence[tuple[str, Speeds]]


def _lengths(rows: Sequence[Row], phase: str) -> _Rows:
    return [(f"{row.prompt_tokens:,} tokens", getattr(row, phase)) for row in rows]


def _spoken(charts: Sequence[tuple[str, _Rows]]) -> str:
    """What the picture shows, in words."""
    return ". ".join(
        f"{title}: "
        + ", ".join(f"{label} {speeds.ossctl.value:,.0f}" for label, speeds in rows)
        + " tokens/s"
        for title, rows in charts
    )


def _heading(report: BenchReport) -> Iterator[str]:
    yield f'<text class="title" x="0" y="20">{escape(report.model.name)}, tokens per second</text>'
    machine = [report.machine.processor, f"{report.machine.cores} cores", *report.machine.devices]
    yield f'<text class="soft" x="0" y="40">{escape(", ".join(machine))}</text>'


def _charts(charts: Sequence[tuple[str, _Rows]]) -> Iterator[str]:
    y = float(_TOP)
    for title, rows in charts:
        yield f'<text class="part" x="0" y="{y + 20:g}">{title}</text>'
        y += _HEAD
        most = max(max(_top(speeds.ossctl), speeds.llama_cpp.value) for _, speeds in rows)
        for label, speeds in rows:
            yield from _line(label, speeds, most, y)
            y += _LINE
        y += _GAP


def _line(label: str, speeds: Speeds, most: float, y: float) -> Iterator[str]:
    def x(speed: float) -> float:
        return _LEFT + speed / most * (_RIGHT - _LEFT)

    middle, ours = y + _LINE / 2, speeds.ossctl
    yield f'<text x="{_LEFT - 14}" y="{middle + 5:g}" text-anchor="end">{label}</text>'
    yield f'<rect class="track" x="{_LEFT}" y="{y + 6:g}" width="{_RIGHT - _LEFT}" height="16" rx="3"/>'
    width = x(ours.value) - _LEFT
    yield f'<rect class="bar" x="{_LEFT}" y="{y + 6:g}" width="{width:.1f}" height="16" rx="3"/>'
    if ours.low is not None and ours.high is not None:
        low, high = x(ours.low), x(ours.high)
        yield f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="{middle:g}" y2="{middle:g}"/>'
    yield f'<path class="limit" d="M{x(speeds.llama_cpp.value):.1f} {y + 3:g}v22"/>'
    ratio = f"{speeds.ratio.value:.2f}"
    yield f'<text x="{_RIGHT + 70}" y="{middle + 5:g}" text-anchor="end">{ours.value:,.0f}</text>'
    yield f'<text class="soft" x="{_WIDTH - 20}" y="{middle + 5:g}" text-anchor="end">{ratio}x</text>'


def _legend(height: int) -> Iterator[str]:
    y = height - 10
    yield f'<rect class="bar" x="{_LEFT}" y="{y - 10}" width="26" height="10" rx="2"/>'
    yield f'<text class="soft" x="{_LEFT + 34}" y="{y}">ossctl, with its 95 % interval</text>'
    yield f'<path class="limit" d="M{_LEFT + 250} {y - 12}v14"/>'
    yield f'<text class="soft" x="{_LEFT + 258}" y="{y}">llama.cpp alone, and ossctl relative to it</text>'


def _top(estimate: Estimate) -> float:
    return estimate.value if estimate.high is None else estimate.high
