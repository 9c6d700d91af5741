"""Why an answer ended, as its reader would tell it."""

import re
from enum import StrEnum

from ossctl.app.inference.generation import Generation
from ossctl.engine.request import FinishReason

# How gpt-oss says no. It does so in these words and few others, and says nothing else then.
_REFUSAL = re.compile(r"(?:I.m|I am) sorry,? but I (?:can.t|cannot|can not) [^\n]*", re.IGNORECASE)
_LONGEST_REFUSAL = 300  # characters


class AnswerFinish(StrEnum):
    """Why an answer ended: what the engine says, told apart further."""

    STOP = "stop"
    TOOL_CALLS = "tool_calls"
    LENGTH = "length"
    REPETITION = "repetition"
    REFUSAL = "refusal"
    EMPTY = "empty"
    CANCELLED = "cancelled"


def ending_of(generation: Generation) -> AnswerFinish:
    """Why a complete generation ended."""
    if generation.finish is not FinishReason.STOP:
        return AnswerFinish(generation.finish or FinishReason.STOP)
    if not generation.content.strip():
        return AnswerFinish.EMPTY
    return AnswerFinish.REFUSAL if is_refusal(generation.content) else AnswerFinish.STOP


def is_refusal(answer: str) -> bool:
    """Whether an answer is nothing but a refusal, as gpt-oss writes it."""
    text = answer.strip()
    return len(text) <= _LONGEST_REFUSAL and _REFUSAL.fullmatch(text) is not None
