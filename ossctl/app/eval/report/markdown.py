"""A report in Markdown, for a README or an issue."""

import re

from ossctl.app.eval.report.rows import rows_of
from ossctl.app.eval.report.tables import Note, Table, answers_table, tables_of
from ossctl.app.eval.results import Evaluation

_SPECIAL = re.compile(r"([\\`*_\[\]|~#])")


def markdown(evaluation: Evaluation, *, answers: bool = False) -> str:
    """The tables of `evaluation`, and with `answers` all that are not correct."""
    parts = ["# Evaluation", conditions(evaluation), *map(markdown_table, tables_of(evaluation))]
    if answers:
        every = [answers_table(row.result) for row in rows_of(evaluation)]
        tables = [table for table in every if table.lines]
        parts += ["## Answers that are not correct"] if tables else []
        parts += [markdown_table(table, heading="###") for table in tables]
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Table, heading: str = "##") -> str:
    """A heading, the table and its notes."""
    rule = ["---:" if numeric else "---" for numeric in table.numeric]
    lines = [_line([_escaped(text) for text in table.headings]), _line(rule)]
    lines += [_line([_escaped(text) for text in line]) for line in table.lines]
    notes = [f"{_escaped(note.mark)} {_note(note)}" for note in table.notes]
    return f"{heading} {_escaped(table.title)}\n\n" + "\n".join(lines) + "".join(f"\n\n{n}" for n in notes)


def conditions(evaluation: Evaluation) -> str:
    """When, on what and with what the evaluation ran, as Markdown."""
    versions = [f"{name} {version}" for name, version in evaluation.versions.items()]
    return _escaped(", ".join(filter(None, [evaluation.date, evaluation.machine, *versions])))


def _note(note: Note) -> str:
    return f"{_escaped(note.text)}: <{note.url}>" if note.url else _escaped(note.text)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """`text` in one line that no Markdown in it changes."""
    plain = _SPECIAL.sub(r"\\\1", " ".join(text.split()))
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") or " "
