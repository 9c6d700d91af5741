"""A picture of the scores: a dot with its interval for each result, and a mark for what was published."""

from collections.abc import Iterator, Sequence
from html import escape

from ossctl.app.eval.published import title_of
from ossctl.app.eval.report.rows import Row, label_of
from ossctl.app.eval.report.wording import interval, percent
from ossctl.app.eval.statistics import Estimate

# distances in the units of the picture, which are pixels at its natural width
_WIDTH = 880
_LEFT, _RIGHT = 300, 780  # of the axis from 0 to 100 %
_LINE, _HEAD, _GAP, _AXIS = 30, 34, 18, 46
_LONGEST_LABEL = 34  # characters that fit left of the axis
_COLOURS = 6  # classes m0 to m5, one a model

STYLE = """
svg.scores { width: 100%; height: auto; font-family: inherit;
  --ink: #1a1f26; --soft: #5b6570; --rule: #d9dee4; --halo: #fff;
  --m0: #0b66c3; --m1: #c2410c; --m2: #0f766e; --m3: #8b3fc4; --m4: #a16207; --m5: #be185d; }
@media (prefers-color-scheme: dark) { svg.scores {
  --ink: #e8ecf1; --soft: #a0abb8; --rule: #39424d; --halo: #121212;
  --m0: #6cb4ff; --m1: #ff9d66; --m2: #4fd1c0; --m3: #cf9bff; --m4: #e8bd4f; --m5: #ff8ec2; } }
.scores text { fill: var(--ink); font-size: 14px; font-variant-numeric: tabular-nums; }
.scores .task { font-weight: 600; font-size: 15px; }
.scores .soft { fill: var(--soft); font-size: 12px; }
.scores .grid { stroke: var(--rule); }
.scores .range { stroke-width: 5; stroke-linecap: round; opacity: .38; }
.scores .dot { stroke: var(--halo); stroke-width: 1.5; }
.scores .published { fill: none; stroke: var(--ink); stroke-width: 1.75; }
""" + "".join(f".scores .m{i} {{ stroke: var(--m{i}); fill: var(--m{i}); }}\n" for i in range(_COLOURS))


# a result that has a score
_Scored = tuple[Row, Estimate]


def picture(rows: Sequence[Row]) -> str:
    """An SVG element, styled by STYLE; "" if no result has a score."""
    tasks: dict[str, list[_Scored]] = {}
    for row in rows:
        if row.score:
            tasks.setdefault(row.result.task, []).append((row, row.score))
    scored = [pair for pairs in tasks.values() for pair in pairs]
    if not scored:
        return ""
    height = sum(_HEAD + len(pairs) * _LINE + _GAP for pairs in tasks.values()) + _AXIS
    body = "".join([*_grid(height - _AXIS), *_tasks(tasks), *_legend(height, scored)])
    spoken = escape(". ".join(_spoken(*pair) for pair in scored))
    return (
        f'<svg class="scores" viewBox="0 0 {_WIDTH} {height}" role="img" '
        'aria-labelledby="scores-of scores-are">'
        '<title id="scores-of">Scores with their 95 % intervals</title>'
        f'<desc id="scores-are">{spoken}</desc>{body}</svg>'
    )


def _spoken(row: Row, score: Estimate) -> str:
    """What the picture shows of a result, in words."""
    published = f", published {percent(row.published.value)}" if row.published else ""
    where = f"{title_of(row.result.task)}, {label_of(row.result)}"
    return f"{where}: {percent(score.value)}, interval {interval(score)}{published}"


def _tasks(tasks: dict[str, list[_Scored]]) -> Iterator[str]:
    models = dict.fromkeys(row.result.model.name for pairs in tasks.values() for row, _ in pairs)
    colours = {name: number % _COLOURS for number, name in enumerate(models)}
    y = 0
    for task, pairs in tasks.items():
        yield f'<text class="task" x="0" y="{y + 22}">{escape(title_of(task))}</text>'
        y += _HEAD
        for row, score in pairs:
            yield from _line(row, score, y + _LINE / 2, colours[row.result.model.name])
            y += _LINE
        y += _GAP


def _line(row: Row, score: Estimate, y: float, colour: int) -> Iterator[str]:
    """A result, centred at `y`."""
    label = escape(_short(label_of(row.result)))
    yield f"<g><title>{escape(_spoken(row, score))}</title>"
    yield f'<text x="{_LEFT - 16}" y="{y + 5:g}" text-anchor="end">{label}</text>'
    low, value, high = (_x(share) for share in (score.low, score.value, score.high))
    yield f'<line class="range m{colour}" x1="{low:.1f}" x2="{high:.1f}" y1="{y:g}" y2="{y:g}"/>'
    if row.published:
        yield f'<path class="published" d="{_diamond(_x(row.published.value), y)}"/>'
    yield f'<circle class="dot m{colour}" cx="{value:.1f}" cy="{y:g}" r="6"/>'
    yield f'<text x="{_WIDTH - 20}" y="{y + 5:g}" text-anchor="end">{percent(score.value)}</text></g>'


def _short(label: str) -> str:
    """`label` without its middle, if it is long: its end tells most results apart."""
    cut = len(label) - _LONGEST_LABEL
    return f"{label[:10]}…{label[11 + cut :]}" if cut > 0 else label


def _grid(height: int) -> Iterator[str]:
    """The lines of the axis and their figures, below the marks."""
    for share in (0, 20, 40, 60, 80, 100):
        x = _x(share / 100)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_HEAD - 4}" y2="{height}"/>'
        yield f'<text class="soft" x="{x:.1f}" y="{height + 18}" text-anchor="middle">{share} %</text>'


def _legend(height: int, scored: Sequence[_Scored]) -> Iterator[str]:
    y = height - 6
    yield f'<g><line class="range m0" x1="{_LEFT}" x2="{_LEFT + 34}" y1="{y - 4}" y2="{y - 4}"/>'
    yield f'<circle class="dot m0" cx="{_LEFT + 17}" cy="{y - 4}" r="5"/>'
    yield f'<text class="soft" x="{_LEFT + 44}" y="{y}">score and its 95 % interval</text></g>'
    if any(row.published for row, _ in scored):
        x = _LEFT + 250
        yield f'<g><path class="published" d="{_diamond(x, y - 4)}"/>'
        yield f'<text class="soft" x="{x + 16}" y="{y}">published figure</text></g>'


def _diamond(x: float, y: float) -> str:
    return f"M{x:.1f} {y - 8:g}l8 8l-8 8l-8 -8z"


def _x(share: float) -> float:
    return _LEFT + share * (_RIGHT - _LEFT)
