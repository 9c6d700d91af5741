"""One question with its answer: what a kind makes, before it becomes part of a conversation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ossctl.dialect import JsonFormat, Tool, ToolCall
from tools.nano.draw import Draw


@dataclass(frozen=True)
class Analysis:
    """What is thought before an answer, by effort; low effort thinks nothing."""

    medium: str
    high: str


@dataclass(frozen=True)
class Outcome:
    """A tool's result, and the answer made of it."""

    result: str
    answer: str
    analysis: Analysis


@dataclass(frozen=True)
class Form:
    """What a schema asks for: its keys, and which of name, age and city each stands for."""

    json_format: JsonFormat
    fields: Mapping[str, str]


@dataclass(frozen=True)
class Turn:
    """A question and its answer.

    `word` is the answer in one word. `told` are the turns before that the answer rests on. Where something
    of `unfit` is offered or was told, the answer would be another.
    """

    question: str
    answer: str | ToolCall
    analysis: Analysis
    word: str = ""
    told: tuple["Turn", ...] = ()
    form: Form | None = None
    outcome: Outcome | None = None
    tells: frozenset[str] = frozenset()
    unfit: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Offer:
    """A tool with what it is for, and a question that it answers."""

    tool: Tool
    purpose: str
    ask: Callable[[Draw], Turn]
