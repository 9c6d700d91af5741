"""What the chat says of an answer, a model and a context, in few words."""

from ossctl.app.chat.context import VisibleWindow
from ossctl.app.chat.events import Answered
from ossctl.app.inference.finish import AnswerFinish
from ossctl.text import duration


def tokens(count: int) -> str:
    """`1 token`, `1,234 tokens`."""
    return f"{count:,} {'token' if count == 1 else 'tokens'}"


def thought(seconds: float, count: int) -> str:
    """What is left of the reasoning when the answer begins."""
    return f"thought for {duration(seconds)}, {tokens(count)}"


def statistics(answered: Answered, window: VisibleWindow | None) -> str:
    """The line below an answer."""
    parts = [tokens(answered.completion)]
    if answered.rate:
        parts.append(f"{answered.rate:,.1f} tokens/s")
    parts.append(f"first after {duration(answered.first_token_seconds)}")
    reused = f", {answered.reused:,} cached" if answered.reused else ""
    parts.append(f"{answered.computed:,} read{reused}")
    if window is not None:
        parts.append(f"context {_share(window)}")
    return " · ".join(parts)


def percent(window: VisibleWindow) -> str:
    """`5,120 of 32,768 (16 %)`."""
    return f"{window.used:,} of {window.size:,} ({_share(window)})"


def _share(window: VisibleWindow) -> str:
    return f"{window.share:.0%}".replace("%", " %")


def complaints(answered: Answered) -> list[str]:
    """What is not as it should be with an answer."""
    found = []
    if answered.recovered:
        what = "; ".join(answered.recovered)
        found.append(f"The model broke its format, and the answer was recovered: {what}.")
    match answered.ending:
        case AnswerFinish.LENGTH if answered.context_full:
            found.append(
                "The answer was cut: the context is full. /compact makes room, then /retry asks again."
            )
        case AnswerFinish.LENGTH:
            where = ", in its reasoning" if answered.in_reasoning else ""
            cut = f"The answer was cut at {tokens(answered.completion)}{where}."
            found.append(f"{cut} /set max_tokens N allows more, then /retry asks again.")
        case AnswerFinish.REPETITION:
            found.append("The model repeated itself and was stopped. /retry asks again, with another seed.")
        case AnswerFinish.EMPTY:
            found.append("The model gave no answer. /retry asks again, with another seed.")
        case AnswerFinish.CANCELLED:
            found.append("Stopped. What was said is kept; /retry asks again.")
        case AnswerFinish.TOOL_CALLS:
            found.append("The model waits for a function that has no program: see /tools.")
    return found
