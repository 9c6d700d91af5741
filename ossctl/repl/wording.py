"""Short texts about answers and the context."""

import msgspec

from ossctl.app.chat.context_window import ContextUsage
from ossctl.app.chat.events import Answered
from ossctl.app.inference.finish import AnswerFinish
from ossctl.app.tools.toolbox import rounds_exhausted
from ossctl.text import counted, duration

_MAX_PROGRAM_LINES = 12


def tokens(count: int) -> str:
    """`1 token`, `1,234 tokens`."""
    return counted(count, "token")


def share(value: float) -> str:
    """`16 %`."""
    return f"{value:.0%}".replace("%", " %")


def percent(usage: ContextUsage) -> str:
    """`5,120 of 32,768 (16 %)`."""
    return f"{usage.used:,} of {usage.size:,} ({share(usage.share)})"


def thought(seconds: float, count: int) -> str:
    """The line that stands for folded reasoning."""
    return f"thought for {duration(seconds)}, {tokens(count)}"


def statistics(answered: Answered, usage: ContextUsage | None) -> str:
    """The line below an answer."""
    accepted = f", {answered.accepted:,} from drafts" if answered.accepted else ""
    parts = [f"{tokens(answered.completion)}{accepted}"]
    if answered.rate:
        parts.append(f"{answered.rate:,.1f} tokens/s")
    parts.append(f"first token after {duration(answered.first_token_seconds)}")
    cached = f", {answered.reused:,} cached" if answered.reused else ""
    parts.append(f"{answered.computed:,} prefilled{cached}")
    if usage is not None:
        parts.append(f"context {share(usage.share)}")
    return " · ".join(parts)


def complaints(answered: Answered) -> list[str]:
    """What went wrong with an answer, and what to do about it."""
    found = [rounds_exhausted(answered.exhausted_rounds)] if answered.exhausted_rounds else []
    if answered.recovered:
        what = "; ".join(answered.recovered)
        found.append(f"The model broke its format, but the answer was recovered: {what}.")
    match answered.ending:
        case AnswerFinish.LENGTH if answered.context_full:
            found.append("The answer was cut off: the context is full. /compact frees space, then /retry.")
        case AnswerFinish.LENGTH:
            where = ", during its reasoning" if answered.in_reasoning else ""
            cut = f"The answer was cut off after {tokens(answered.completion)}{where}."
            found.append(f"{cut} /set max_tokens N raises the limit, then /retry.")
        case AnswerFinish.REPETITION:
            found.append("The model repeated itself and was stopped. /retry tries another seed.")
        case AnswerFinish.EMPTY:
            found.append("The model gave no answer. /retry tries another seed.")
        case AnswerFinish.CANCELLED:
            found.append("Stopped. The partial answer is kept; /retry answers again.")
        case AnswerFinish.TOOL_CALLS:
            found.append("The answer ends with a function call. /tools shows which functions have a program.")
    return found


def program_of(arguments: str) -> list[str]:
    """The lines of a call whose only argument is a text of several lines, as of a program; the first of many.

    Empty for other calls, which are shown on one line.
    """
    try:
        values = list(msgspec.json.decode(arguments, type=dict[str, str]).values())
    except msgspec.DecodeError:
        return []
    lines = values[0].rstrip().split("\n") if len(values) == 1 else []
    if len(lines) < 2:
        return []
    more = len(lines) - _MAX_PROGRAM_LINES
    return [*lines[:_MAX_PROGRAM_LINES], *([f"… {more:,} more lines"] if more > 0 else [])]
