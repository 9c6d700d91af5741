"""The tables of a report, as text: how they look is up to the terminal, Markdown or the page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ossctl.app.eval.published import Source, comparison, source, title_of
from ossctl.app.eval.report.rows import Pair, Row, label_of, model_of, pairs_of, rows_of, setting_of
from ossctl.app.eval.report.wording import (
    NOTHING,
    clipped,
    count,
    interval,
    percent,
    points,
    points_interval,
    time,
    verdict,
)
from ossctl.app.eval.results import Evaluation, TaskResult
from ossctl.app.eval.statistics import Estimate


@dataclass(frozen=True)
class Note:
    """A footnote. `mark` is what cells end with: "[1]"."""

    mark: str
    text: str
    url: str = ""


@dataclass(frozen=True)
class Table:
    """Cells as text; `numeric` says which columns are to be aligned right."""

    title: str
    headings: tuple[str, ...]
    numeric: tuple[bool, ...]
    lines: tuple[tuple[str, ...], ...]
    notes: tuple[Note, ...] = ()
    background: bool = False  # of interest to some: a terminal leaves its notes to the reports


@dataclass(frozen=True)
class _Column:
    heading: str
    cell: Callable[[Row], str]
    numeric: bool = True
    shown: Callable[[Row], object] = lambda _: True  # a column that no row needs is left out


def tables_of(evaluation: Evaluation) -> tuple[Table, ...]:
    """Scores, what they took, differences of results of one task, and the published comparison."""
    rows = rows_of(evaluation)
    found = [
        scores_table(rows),
        cost_table(rows),
        repeats_table(rows),
        differences_table(pairs_of(evaluation)),
        comparison_table(),
    ]
    return tuple(table for table in found if table.lines)


def scores_table(rows: Sequence[Row]) -> Table:
    """How good the answers were, beside what was published."""
    sources = _Marks()
    for row in rows:
        if row.published:
            sources.add(row.published.source, row.published.where)
    beside = (
        _Column("published", lambda row: _published(row, sources), shown=lambda row: row.published),
        _Column("difference", _difference, shown=lambda row: row.published),
        _Column("meaning", _meaning, numeric=False, shown=lambda row: row.published),
    )
    return _table("Scores", rows, (*_RESULT, *_SCORES, *beside), sources.notes)


def cost_table(rows: Sequence[Row]) -> Table:
    """What the answers took: tokens as means of all answers, time and energy in all."""
    return _table("Cost", rows, (*_RESULT, *_COST))


def repeats_table(rows: Sequence[Row]) -> Table:
    """How often one of the answers to a question is correct, and how often the most frequent one is."""
    return _table("Repeats", [row for row in rows if row.any_of or row.most_of], (*_RESULT, *_REPEATS))


def differences_table(pairs: Sequence[Pair]) -> Table:
    """Paired differences, in percentage points."""
    return Table(
        "Differences on the same questions",
        ("task", "result", "compared with", "questions", "points", "95 % interval", "meaning"),
        (False, False, False, True, True, True, False),
        tuple(
            (
                title_of(pair.first.task),
                label_of(pair.second),
                label_of(pair.first),
                f"{pair.difference.n_questions:,}",
                points(pair.difference.value),
                points_interval(pair.difference),
                verdict(pair.difference),
            )
            for pair in pairs
        ),
    )


def comparison_table() -> Table:
    """The comparison that is often copied; a mark leads to what its source says."""
    table = comparison()
    notes: list[Note] = []
    lines = []
    for row in table.rows:
        cells = [row.title]
        for cell in row.cells:
            mark = f"[{len(notes) + 1}]"
            read = source(cell.source)
            said = " ".join(filter(None, [f"{cell.about}.", cell.note]))
            notes.append(Note(mark, f"{said} {read.title}, {read.date}", read.url))
            sourced = f" (source: {cell.sourced})" if cell.sourced else ""
            cells.append(f"{cell.shown}{sourced} {mark}")
        lines.append(tuple(cells))
    return Table(
        "A published comparison, checked",
        ("", *table.models),
        (False,) * (1 + len(table.models)),
        tuple(lines),
        tuple(notes),
        background=True,
    )


def answers_table(result: TaskResult) -> Table:
    """Wrong, truncated and failed answers beside their targets."""
    repeated = result.repeats > 1
    return Table(
        f"{title_of(result.task)}: {label_of(result)}",
        ("question", *(["repeat"] if repeated else []), "outcome", "target", "given"),
        (False, *([True] if repeated else []), False, False, False),
        tuple(
            (
                sample.id,
                *([str(sample.epoch)] if repeated else []),
                sample.outcome,
                clipped(sample.target),
                clipped(sample.error or sample.given) or NOTHING,
            )
            for sample in result.samples
            if sample.outcome != "correct"
        ),
    )


def _table(
    title: str, rows: Sequence[Row], columns: Sequence[_Column], notes: tuple[Note, ...] = ()
) -> Table:
    """The columns that any row needs."""
    shown = [column for column in columns if any(column.shown(row) for row in rows)]
    return Table(
        title,
        tuple(column.heading for column in shown),
        tuple(column.numeric for column in shown),
        tuple(tuple(column.cell(row) for column in shown) for row in rows),
        notes,
    )


class _Marks:
    """Numbers sources in the order in which they are first met."""

    def __init__(self) -> None:
        self._notes: dict[tuple[str, str], Note] = {}

    def add(self, source: Source, where: str) -> str:
        key = (source.url, where)
        if key not in self._notes:
            conditions = f": {source.conditions}" if source.conditions else ""
            text = f"{source.title}, {source.date}, {where}{conditions}"
            self._notes[key] = Note(f"[{len(self._notes) + 1}]", text, source.url)
        return self._notes[key].mark

    @property
    def notes(self) -> tuple[Note, ...]:
        return tuple(self._notes.values())


def _questions(row: Row) -> str:
    """`30 of 1,319`, and how often each was asked."""
    whole = row.result.set_size
    of = f" of {whole:,}" if whole and whole > row.n_questions else ""
    repeats = f" \N{MULTIPLICATION SIGN} {row.result.repeats}" if row.result.repeats > 1 else ""
    return f"{row.n_questions:,}{of}{repeats}"


def _estimate(estimate: Estimate | None) -> str:
    return f"{percent(estimate.value)} ({interval(estimate)})" if estimate else NOTHING


def _published(row: Row, sources: _Marks) -> str:
    figure = row.published
    return f"{percent(figure.value)} {sources.add(figure.source, figure.where)}" if figure else NOTHING


def _difference(row: Row) -> str:
    found = row.to_published
    return f"{points(found.value)} ({points_interval(found)})" if found else NOTHING


def _meaning(row: Row) -> str:
    return verdict(row.to_published) if row.to_published else NOTHING


_RESULT = (
    _Column("task", lambda row: title_of(row.result.task), numeric=False),
    _Column("model", lambda row: model_of(row.result.model), numeric=False),
    _Column(
        "quantisation",
        lambda row: row.result.model.quantization or NOTHING,
        numeric=False,
        shown=lambda row: row.result.model.quantization,
    ),
    _Column(
        "effort",
        lambda row: setting_of(row.result) or NOTHING,
        numeric=False,
        shown=lambda row: setting_of(row.result),
    ),
)
_SCORES = (
    _Column("questions", _questions),
    _Column("score", lambda row: percent(row.score.value) if row.score else NOTHING),
    _Column("95 % interval", lambda row: interval(row.score)),
    _Column("truncated", lambda row: count(row.outcomes.truncated, row.outcomes.total)),
    _Column("failed", lambda row: count(row.outcomes.failed, row.outcomes.total)),
)
_COST = (
    _Column(
        "reasoning tokens",
        lambda row: f"{row.reasoning_tokens:,.0f}",
        shown=lambda row: row.reasoning_tokens,
    ),
    _Column("answer tokens", lambda row: f"{row.answer_tokens:,.0f}"),
    _Column("time", lambda row: time(row.result.seconds)),
    _Column("tokens/s", lambda row: f"{row.tokens_per_second:,.0f}"),
    _Column(
        "Wh",
        lambda row: NOTHING if row.result.wh is None else f"{row.result.wh:,.3g}",
        shown=lambda row: row.result.wh is not None,
    ),
)
_REPEATS = (
    _Column(
        "answers each", lambda row: f"{row.result.repeats:,}", shown=lambda row: row.any_of or row.most_of
    ),
    _Column("pass@k", lambda row: _estimate(row.any_of), shown=lambda row: row.any_of),
    _Column("maj@k", lambda row: _estimate(row.most_of), shown=lambda row: row.most_of),
)
