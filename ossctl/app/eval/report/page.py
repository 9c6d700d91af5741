"""A report as a page: the picture, the tables, and the answers that are not correct."""

from collections.abc import Iterator, Sequence

from ossctl.app.eval.report.picture import STYLE, picture
from ossctl.app.eval.report.rows import Row, pairs_of, rows_of
from ossctl.app.eval.report.tables import (
    Note,
    Table,
    answers_table,
    comparison_table,
    cost_table,
    differences_table,
    repeats_table,
    scores_table,
)
from ossctl.app.eval.results import Evaluation
from ossctl.app.html_page import escape, html_page

_STYLE = (
    STYLE
    + """
body { max-width: 84rem; }
h2 { margin: 3rem 0 .75rem; font-size: 1.25rem; }
figure { margin: 1.5rem 0 0; max-width: 60rem; }
.wide { overflow-x: auto; }
.wide table { font-size: .875rem; }
th { font-weight: 600; vertical-align: bottom; }
th, td { white-space: nowrap; padding: .35rem .8rem .35rem 0; }
th:last-child, td:last-child { padding-right: 0; }
.num { text-align: right; }
.answers th, .answers td { width: 8rem; }
.answers th:last-child, .answers td:last-child { width: auto; }
.answers td { white-space: pre-wrap; overflow-wrap: anywhere; min-width: 5rem; }
tbody tr:hover { background: #8881; }
.note { max-width: 60rem; }
ol.notes { padding-left: 0; list-style: none; }
details { margin: .5rem 0; border: 1px solid #8884; border-radius: .5rem; padding: .5rem .9rem; }
details[open] { padding-bottom: .9rem; }
summary { cursor: pointer; }
"""
)

_METHOD = (
    "The score is the mean over questions. Repeats of one question count as independent answers only as far "
    "as they differ (clustered standard errors, Miller 2024); the interval is Wilson's (1927). Truncated and "
    "failed answers are not correct. Differences on the same questions are paired (Bonett and Price 2012). "
    "A published figure has noise of its own, that of its answers. A difference may be chance if its "
    "interval holds 0."
)


def html(evaluation: Evaluation) -> str:
    """A self-contained HTML page. Every value is escaped."""
    rows = rows_of(evaluation)
    body = "\n".join(_sections(evaluation, rows))
    return html_page("Evaluation", body, _STYLE)


def _sections(evaluation: Evaluation, rows: tuple[Row, ...]) -> Iterator[str]:
    versions = [f"{name} {version}" for name, version in evaluation.versions.items()]
    facts = " · ".join(filter(None, [evaluation.date, evaluation.machine, *versions]))
    yield f'<p class="note">{escape(facts)}</p>'
    yield f"<figure>{picture(rows)}</figure>"
    yield _section(scores_table(rows))
    yield f'<p class="note">{escape(_METHOD)}</p>'
    for table in (cost_table(rows), repeats_table(rows), differences_table(pairs_of(evaluation))):
        if table.lines:
            yield _section(table)
    yield from _answers(rows)
    yield _section(comparison_table())


def _answers(rows: Sequence[Row]) -> Iterator[str]:
    tables = [(row, answers_table(row.result)) for row in rows]
    if any(table.lines for _, table in tables):
        yield "<h2>Answers that are not correct</h2>"
    for row, table in tables:
        if table.lines:
            title = f"{table.title}, {len(table.lines):,} of {row.outcomes.total:,}"
            shown = _table(table, "wide answers")
            yield f"<details><summary>{escape(title)}</summary>{shown}</details>"


def _section(table: Table) -> str:
    notes = "".join(f"<li>{_note(note)}</li>" for note in table.notes)
    listed = f'<ol class="notes note">{notes}</ol>' if notes else ""
    return f"<section><h2>{escape(table.title)}</h2>{_table(table, 'wide')}{listed}</section>"


def _table(table: Table, classes: str) -> str:
    head = "".join(_cells(table, table.headings, 'th scope="col"'))
    lines = "".join(f"<tr>{''.join(_cells(table, line, 'td'))}</tr>" for line in table.lines)
    body = f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody>"
    return f'<div class="{classes}"><table>{body}</table></div>'


def _cells(table: Table, texts: Sequence[str], tag: str) -> Iterator[str]:
    for text, numeric in zip(texts, table.numeric, strict=True):
        aligned = ' class="num"' if numeric else ""
        yield f"<{tag}{aligned}>{escape(text)}</{tag.partition(' ')[0]}>"


def _note(note: Note) -> str:
    text = escape(f"{note.mark} {note.text}")
    return f'{text}, <a href="{escape(note.url)}">{escape(note.url)}</a>' if note.url else text
