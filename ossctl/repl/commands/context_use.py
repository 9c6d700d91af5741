"""Commands on what the model sees, and on what it takes."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ossctl.app.chat.attachments import read_attachment
from ossctl.app.chat.context_window import ContextReport
from ossctl.app.chat.paths import user_path
from ossctl.errors import UsageError
from ossctl.repl.wording import percent, tokens
from ossctl.text import duration

if TYPE_CHECKING:
    from ossctl.repl.repl import Repl

_BAR = 40  # characters


def file(repl: "Repl", argument: str) -> None:
    """`/file PATH`"""
    repl.ready()
    n_ctx = repl.chat.model_session.n_ctx
    attached = read_attachment(user_path(argument.strip("\"'")), n_ctx)
    count = repl.size_of(attached)
    if count > n_ctx:
        raise UsageError(
            f"{attached.name} has {tokens(count)}, more than the context of {n_ctx:,}",
            "Attach the part that matters.",
        )
    repl.composer.attach(attached)
    free = repl.chat.usage().free
    repl.say(f"{attached.name}: {tokens(count)} of {free:,} free. It will be sent with your next message.")


def image(_repl: "Repl", _argument: str) -> None:
    """`/image`"""
    raise UsageError(
        "images are not supported: models get text only",
        "Describe the image, or attach its text with /file.",
    )


def context(repl: "Repl", _argument: str) -> None:
    """`/context`"""
    repl.ready()
    repl.say(*_described(repl.chat.report()))
    latest = repl.chat.latest
    if latest is not None:
        repl.say(
            f"The cache holds {repl.chat.model_session.cells:,} cells. The last prompt had "
            f"{tokens(latest.prompt)}: {latest.reused:,} cached, {latest.computed:,} prefilled."
        )


def compact(repl: "Repl", _argument: str) -> None:
    """`/compact`"""
    repl.ready()
    before = repl.chat.usage().used
    repl.compact()
    repl.say(f"The context went from {tokens(before)} to {repl.chat.usage().used:,}.")


def stats(repl: "Repl", _argument: str) -> None:
    """`/stats`"""
    totals = repl.meter.totals
    if not totals.answers:
        raise UsageError("there are no answers yet")
    repl.say(
        f"{totals.answers:,} {'answer' if totals.answers == 1 else 'answers'}: "
        f"{tokens(totals.generated)} in {duration(totals.seconds)}",
        f"prompts: {tokens(totals.prefilled)} prefilled, {totals.cached:,} cached",
    )
    latest = repl.chat.latest
    if latest is not None:
        repl.say(
            f"last answer: {latest.rate:,.1f} tokens/s, first token after "
            f"{duration(latest.first_token_seconds)}, seed {latest.seed}"
        )


def plan(repl: "Repl", _argument: str) -> None:
    """`/plan`"""
    repl.load()
    made = repl.chat.model_session.model.plan
    if made is not None:
        repl.say(*repl.describe_plan(repl.model.name, made))


def _described(report: ContextReport) -> Iterator[str]:
    usage = report.usage
    filled = min(_BAR, round(usage.share * _BAR))
    yield f"Context: {percent(usage)}"
    yield f"[{'#' * filled}{'.' * (_BAR - filled)}]"
    if report.instructions:
        yield f"     {report.instructions:>9,}  instructions and format"
    if report.summary:
        yield f"     {report.summary:>9,}  summary of the turns out of context"
    for turn in report.turns:
        mark = " " if turn.seen else "-"
        yield f"{mark}{turn.number:>3} {turn.tokens:>9,}  {turn.title}"
    if any(not turn.seen for turn in report.turns):
        yield "- out of context: the model no longer sees this turn"
