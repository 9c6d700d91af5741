"""How an answer ended, as reported to users."""

import re
from enum import StrEnum

from ossctl.app.inference.generation import Generation
from ossctl.engine.request import FinishReason

# How gpt-oss phrases nearly all of its refusals, which say nothing else.
_REFUSAL = re.compile(r"(?:I.m|I am) sorry,? but I (?:can.t|cannot|can not) [^\n]*", re.IGNORECASE)
_MAX_REFUSAL = 300  # characters


class AnswerFinish(StrEnum):
    """The reasons of `FinishReason`, plus refusals and empty answers."""

    STOP = "stop"
    TOOL_CALLS = "tool_calls"
    LENGTH = "length"
    REPETITION = "repetition"
    REFUSAL = "refusal"
    EMPTY = "empty"
    CANCELLED = "cancelled"


def answer_finish(generation: Generation) -> AnswerFinish:
    """How a complete generation ended."""
    if generation.finish is not FinishReason.STOP:
        return AnswerFinish(generation.finish or FinishReason.STOP)
    if not generation.content.strip():
        return AnswerFinish.EMPTY
    return AnswerFinish.REFUSAL if is_refusal(generation.content) else AnswerFinish.STOP


def is_refusal(answer: str) -> bool:
    """Whether an answer is nothing but a refusal, as gpt-oss phrases it."""
    text = answer.strip()
    return len(text) <= _MAX_REFUSAL and _REFUSAL.fullmatch(text) is not None
