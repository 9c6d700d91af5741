"""An evaluation in the terminal: its tables in aligned columns, with their notes."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ossctl.cli.output import columns

if TYPE_CHECKING:
    from ossctl.app.eval.report.tables import Table
    from ossctl.app.eval.results import Evaluation

# What a narrow terminal can do without, least needed first. Markdown and the page have every column.
_OPTIONAL = (
    {"difference"},
    {"answer tokens"},
    {"questions"},
    {"quantisation"},
    {"published", "meaning"},
)
_NAMING = {"task", "model", "quantisation", "effort"}


def describe_evaluation(evaluation: "Evaluation", width: int | None) -> Iterator[str]:
    """The lines of `ossctl eval`, on a terminal `width` columns wide, or None for a file or a pipe."""
    from ossctl.app.eval.report.tables import tables_of

    for number, table in enumerate(tables_of(evaluation)):
        if number:
            yield ""
        yield from table_lines(table, width)


def table_lines(table: "Table", width: int | None) -> Iterator[str]:
    """The title, the columns that fit into `width`, those that do not by name, and the notes."""
    shown = list(range(len(table.headings)))
    for headings in _OPTIONAL:
        if width is None or max(map(len, _aligned(table, shown))) <= width:
            break
        fewer = [column for column in shown if table.headings[column] not in headings]
        if headings <= set(table.headings) and _names(table, fewer) == _names(table, shown):
            shown = fewer
    yield table.title
    yield ""
    yield from _aligned(table, shown)
    left_out = [heading for column, heading in enumerate(table.headings) if column not in shown]
    if left_out:
        yield f"(too narrow for {', '.join(left_out)})"
    for note in table.notes:
        if any(line[column].endswith(note.mark) for line in table.lines for column in shown):
            yield f"{note.mark} {note.text}: {note.url}"


def _names(table: "Table", shown: list[int]) -> int:
    """How many results the columns that name them tell apart."""
    naming = [column for column in shown if table.headings[column] in _NAMING]
    return len({tuple(line[column] for column in naming) for line in table.lines})


def _aligned(table: "Table", shown: list[int]) -> list[str]:
    """The lines of a table. Tasks are lines of their own, above their results."""
    grouped = table.headings[0] == "task"
    kept = shown[1:] if grouped else shown
    right = tuple(place for place, column in enumerate(kept) if table.numeric[column])
    rows = [[line[column] for column in kept] for line in (table.headings, *table.lines)]
    head, *lines = columns(rows, right=right)
    if not grouped:
        return [head, *lines]
    tasks = [line[0] for line in table.lines]
    result = [f"  {head}"]
    for before, task, line in zip([None, *tasks], tasks, lines, strict=False):
        result += ([] if task == before else [task]) + [f"  {line}"]
    return result
