"""An evaluation in the terminal: its tables in aligned columns, with their notes."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ossctl.cli.output import Output, columns
from ossctl.cli.status_line import StatusLine
from ossctl.text import counted, duration, one_line

if TYPE_CHECKING:
    from ossctl.app.eval.report.tables import Table
    from ossctl.app.eval.results import Evaluation, Sample, TaskResult
    from ossctl.app.eval.view import Progress

_SECONDS_BETWEEN_LINES = 10.0

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
    if table.background:
        yield "Sources and conditions: in report.md and report.html."
        return
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


def evaluation_text(evaluation: "Evaluation", form: str, out: Output) -> str:
    """The results in a form: json, csv, markdown, html, or "" for the tables."""
    from ossctl.app.eval.report.data import to_csv, to_json
    from ossctl.app.eval.report.markdown import markdown
    from ossctl.app.eval.report.page import html

    if form == "json":
        return to_json(evaluation).decode()
    if form == "csv":
        return to_csv(evaluation)
    if form == "markdown":
        return markdown(evaluation)
    if form == "html":
        return html(evaluation)
    if not evaluation.results:
        return ""
    width = shutil.get_terminal_size().columns if out.on_terminal else None
    return "\n".join(describe_evaluation(evaluation, width)) + "\n"


def task_lines() -> Iterator[str]:
    """The lines of `ossctl eval --list`."""
    from ossctl.app.eval.tasks import NAMED

    rows = [("task", "questions", "repeats", "", "needs")]
    rows += [(each.name, f"{each.questions:,}", str(each.repeats), each.about, each.needs) for each in NAMED]
    yield from columns(rows, right=(1, 2))
    yield ""
    yield "tau2 is its three tasks. Tasks of Inspect: inspect_evals/NAME, FILE.py, FILE.py@NAME."
    yield "A .jsonl file: questions of your own."


class EvalProgress(StatusLine):
    """A line that is redrawn while answers arrive, else one every ten seconds, and one for each task."""

    def __init__(self, out: Output) -> None:
        super().__init__(out)
        self._due = 0.0

    def reading(self, task: str) -> None:
        self.show(f"{task}: reading the questions")

    def begins(self, folder: Path) -> None:
        self.note(f"Results: {folder}")

    def loading(self, model: str) -> None:
        self.show(f"{model}: loading")

    def progress(self, progress: "Progress") -> None:
        line = describe_progress(progress)
        self.show(line)
        if not self.out.is_live and progress.seconds >= self._due:
            if self._due:
                self.note(line)
            self._due = progress.seconds + _SECONDS_BETWEEN_LINES

    def finished(self, label: str, result: "TaskResult") -> None:
        from ossctl.app.eval.statistics import mean_score

        self._due = 0.0
        score = mean_score(result)
        shown = f"{100 * score.value:.1f} %" if score else "no score"
        self.note(f"{label}: {shown} of {counted(len(result.samples), 'answer')} · {result.seconds:,.1f} s")

    def failed_sample(self, label: str, sample: "Sample") -> None:
        epoch = f", repeat {sample.epoch}" if sample.epoch > 1 else ""
        self.remark(f"{label}: question {one_line(sample.id)}{epoch} failed: {one_line(sample.error or '')}")


def describe_progress(progress: "Progress") -> str:
    """`aime25 · 20b · high: 12 of 30 · 83.3 % · 1 truncated · 143 tokens/s · 2 min left`"""
    parts = [f"{progress.label}: {progress.done:,} of {progress.total:,}"]
    if progress.done:
        parts.append(f"{100 * progress.score / progress.done:.1f} %")
    parts += [f"{progress.truncated:,} truncated"] if progress.truncated else []
    parts += [f"{progress.failed:,} failed"] if progress.failed else []
    if progress.seconds and progress.tokens:
        parts.append(f"{progress.tokens / progress.seconds:,.0f} tokens/s")
    left = progress.seconds_left
    return " · ".join([*parts, *([] if left is None else [f"{duration(left)} left"])])
