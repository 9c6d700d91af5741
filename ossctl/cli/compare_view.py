"""Prints a comparison: side by side on a wide terminal, else one answer below the other."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ossctl.cli.output import Output, columns
from ossctl.text import harmless

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from ossctl.app.compare.ballots import Ballot
    from ossctl.app.compare.results import Answer, Comparison, Prompt

_MIN_COLUMNS = 36  # of an answer beside others
_DIVIDER = 3  # columns between two answers
_MIN_NAME = 8  # characters of a shortened name
_REMOVED, _ADDED = "red strike", "green"


class ComparisonView:
    """Prints comparisons and ballots to stdout."""

    def __init__(self, out: Output, *, diff: bool = False, reasoning: bool = False) -> None:
        self._out = out
        self._diff = diff
        self._reasoning = reasoning

    def show(self, comparison: "Comparison") -> None:
        """All answers, then the summary."""
        from ossctl.app.compare.wording import notes_of

        for number, prompt in enumerate(comparison.prompts, 1):
            answers = comparison.answers_to(prompt)
            if not answers:
                continue
            title = "" if len(comparison.prompts) == 1 else _title(prompt, number)
            self._prompt(prompt, title)
            self._answers(answers, [answer.contestant for answer in answers], [*map(notes_of, answers)])
            if self._diff:
                self._diffs(answers)
            self._verdicts(comparison, prompt)
        self.summary(comparison)

    def ballot(self, ballot: "Ballot", title: str) -> None:
        """Two answers without their names, and without the figures that could give them away."""
        from ossctl.app.compare.wording import ending_of

        answers = [ballot.a, ballot.b]
        self._prompt(ballot.prompt, title)
        self._answers(answers, ["A", "B"], [[*filter(None, [ending_of(answer)])] for answer in answers])

    def summary(self, comparison: "Comparison") -> None:
        """The figures of each contestant, votes and verdicts."""
        from ossctl.app.compare.wording import summary_table, verdict_lines, vote_lines

        if comparison.answers:
            self._out.lines(self._table(summary_table(comparison)))
        for line in vote_lines(comparison):
            self._line(f"Votes: {line}")
        for line in verdict_lines(comparison):
            self._line(f"Judge {line}")

    def _table(self, rows: Sequence[Sequence[str]]) -> list[str]:
        """The rows in columns; names are shortened if they would not fit on the terminal."""
        right = range(1, len(rows[0]))
        lines = columns(rows, right)
        if not self._out.on_terminal or max(map(len, lines)) <= self._console.width:
            return lines
        longest = max(len(row[0]) for row in rows)
        space = max(_MIN_NAME, longest - (max(map(len, lines)) - self._console.width))
        return columns([(_shortened(row[0], space), *row[1:]) for row in rows], right)

    @functools.cached_property
    def _console(self) -> "Console":
        from ossctl.repl.markdown import THEME

        console = self._out.console(stderr=False)
        console.push_theme(THEME)
        return console

    def _prompt(self, prompt: "Prompt", title: str) -> None:
        text = harmless(prompt.text.strip())
        if not self._out.on_terminal:
            self._out.text(f"== {f'{title}: ' if title else ''}{prompt.text.strip()}\n")
            return
        from rich.rule import Rule
        from rich.text import Text

        self._print(Rule(Text(harmless(title), style="dim") if title else "", style="dim"))
        self._print(Text(text, style="bold"))
        self._print("")

    def _answers(
        self, answers: "Sequence[Answer]", names: Sequence[str], notes: Sequence[Sequence[str]]
    ) -> None:
        if not self._out.on_terminal:
            self._plain_answers(answers, names, notes)
        elif self._column_width(len(answers)) >= _MIN_COLUMNS:
            self._side_by_side(answers, names, notes)
        else:
            self._stacked(answers, names, notes)

    def _column_width(self, count: int) -> int:
        return (self._console.width - _DIVIDER * (count - 1)) // count

    def _side_by_side(
        self, answers: "Sequence[Answer]", names: Sequence[str], notes: Sequence[Sequence[str]]
    ) -> None:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        width = self._column_width(len(answers))
        table = Table(
            box=box.MINIMAL, show_edge=False, pad_edge=False, border_style="dim", show_footer=any(notes)
        )
        for name, below in zip(names, notes, strict=True):
            footer = Text(harmless("\n".join(below)), style="dim")
            header = Text(harmless(name), style="bold")
            table.add_column(header, footer, width=width, overflow="fold")
        table.add_row(*(self._body(answer, width) for answer in answers))
        self._print(table)
        self._print("")

    def _stacked(
        self, answers: "Sequence[Answer]", names: Sequence[str], notes: Sequence[Sequence[str]]
    ) -> None:
        from rich.console import Group
        from rich.text import Text

        for answer, name, below in zip(answers, names, notes, strict=True):
            header = Text(f"── {harmless(name)}", style="bold")
            footer = Text(harmless("\n".join(below)), style="dim")
            self._print(Group(header, self._body(answer, self._console.width), footer, ""))

    def _plain_answers(
        self, answers: "Sequence[Answer]", names: Sequence[str], notes: Sequence[Sequence[str]]
    ) -> None:
        for answer, name, below in zip(answers, names, notes, strict=True):
            self._out.text(f"-- {name}")
            if self._reasoning and answer.reasoning:
                self._out.text(f"[reasoning] {answer.reasoning.strip()}\n")
            if answer.answer.strip():
                self._out.text(answer.answer.strip())
            self._out.lines([*(f"({note})" for note in below), ""])

    def _body(self, answer: "Answer", width: int) -> "Text":
        """The answer as Markdown, below its reasoning if that is shown."""
        from rich.text import Text

        from ossctl.repl.markdown import MarkdownStream

        stream = MarkdownStream(self._console)
        stream.feed(answer.answer.strip())
        lines, _ = stream.take(width, closed=True)
        body = Text.from_ansi("\n".join(lines))
        if self._reasoning and answer.reasoning:
            return Text.assemble((harmless(answer.reasoning.strip()), "dim italic"), "\n\n", body)
        return body

    def _diffs(self, answers: "Sequence[Answer]") -> None:
        """The first answer against each of the others."""
        from ossctl.app.compare.word_diff import plain_diff, word_diff

        for other in answers[1:]:
            pieces = word_diff(answers[0].answer.strip(), other.answer.strip())
            title = f"{answers[0].contestant} → {other.contestant}"
            if not self._out.on_terminal or self._console.no_color:
                self._out.text(f"-- {title}\n{plain_diff(pieces)}\n")
                continue
            from rich.text import Text

            styles = {"same": "", "removed": _REMOVED, "added": _ADDED}
            self._print(Text(f"── {harmless(title)}", style="bold"))
            self._print(Text.assemble(*((harmless(piece.text), styles[piece.kind]) for piece in pieces)))
            self._print("")

    def _verdicts(self, comparison: "Comparison", prompt: "Prompt") -> None:
        from ossctl.app.compare.wording import verdict_text

        found = [verdict_text(each) for each in comparison.verdicts if each.prompt == prompt.id]
        for text in found:
            self._line(f"{text}\n")

    def _line(self, text: str) -> None:
        """A line of text, wrapped between words on a terminal."""
        if not self._out.on_terminal:
            self._out.text(text)
            return
        from rich.text import Text

        self._print(Text(harmless(text)))

    def _print(self, what: "RenderableType") -> None:
        self._console.print(what, highlight=False, markup=False)


def _shortened(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _title(prompt: "Prompt", number: int) -> str:
    return str(number) if prompt.id == str(number) else f"{number}, {prompt.id}"
