"""Commands on what the model sees, and on what it costs."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ossctl.app.chat.attachments import read_attachment
from ossctl.app.chat.context import ContextReport
from ossctl.errors import UsageError
from ossctl.repl.wording import percent, tokens
from ossctl.text import duration

if TYPE_CHECKING:
    from ossctl.repl.repl import Repl

_BAR = 40  # characters


def file(repl: "Repl", argument: str) -> None:
    """`/file PATH`"""
    repl.ready()
    attached = read_attachment(Path(argument.strip("\"'")), repl.chat.talker.n_ctx)
    count = repl.size_of(attached)
    if count > repl.chat.talker.n_ctx:
        raise UsageError(
            f"{attached.name} has {tokens(count)}, the context {repl.chat.talker.n_ctx:,}",
            "Attach the part that matters.",
        )
    repl.attached.append(attached)
    window = repl.chat.window()
    free = max(0, window.size - window.used)
    repl.say(f"{attached.name}: {tokens(count)} of {free:,} that are free. It goes with your next message.")


def image(_repl: "Repl", _argument: str) -> None:
    """`/image`"""
    raise UsageError(
        "images cannot be read: gpt-oss is a model of text",
        "Describe it, or attach its text with /file.",
    )


def context(repl: "Repl", _argument: str) -> None:
    """`/context`"""
    repl.ready()
    repl.say(*_described(repl.chat.report()))
    latest = repl.chat.latest
    if latest is not None:
        repl.say(
            f"The cache holds {repl.chat.cells:,} cells. Of the last prompt's {tokens(latest.prompt)} "
            f"{latest.reused:,} were reused and {latest.computed:,} computed."
        )


def compact(repl: "Repl", _argument: str) -> None:
    """`/compact`"""
    repl.ready()
    before = repl.chat.window()
    repl.make_room("compact")
    repl.say(f"{before.used:,} tokens became {repl.chat.window().used:,}.")


def stats(repl: "Repl", _argument: str) -> None:
    """`/stats`"""
    totals = repl.totals
    if not totals.answers:
        raise UsageError("nothing was answered yet")
    repl.say(
        f"{totals.answers:,} {'answer' if totals.answers == 1 else 'answers'}, "
        f"{tokens(totals.completion)} in {duration(totals.seconds)}",
        f"{tokens(totals.computed)} of prompts computed, {totals.reused:,} taken from the cache",
    )
    latest = repl.chat.latest
    if latest is not None:
        repl.say(
            f"last answer: {latest.rate:,.1f} tokens/s, first token after "
            f"{duration(latest.first_token_seconds)}, seed {latest.seed}"
        )


def plan(repl: "Repl", _argument: str) -> None:
    """`/plan`"""
    repl.ready()
    made = repl.chat.talker.model.plan
    if made is not None:
        repl.say(*repl.describe_plan(repl.models.name, made))


def _described(report: ContextReport) -> Iterator[str]:
    window = report.window
    filled = min(_BAR, round(window.share * _BAR))
    yield f"Context: {percent(window)}"
    yield f"[{'#' * filled}{'.' * (_BAR - filled)}]"
    if report.instructions:
        yield f"     {report.instructions:>9,}  instructions and format"
    if report.summary:
        yield f"     {report.summary:>9,}  summary of what is out of the context"
    for turn in report.turns:
        mark = " " if turn.seen else "-"
        yield f"{mark}{turn.number:>3} {turn.tokens:>9,}  {turn.title}"
    if any(not turn.seen for turn in report.turns):
        yield "- out of the context: the model does not see it any more"
