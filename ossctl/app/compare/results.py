"""What a comparison found, as the lines of `--json` and of the file that keeps it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

import msgspec

from ossctl.app.inference.finish import AnswerFinish

SCHEMA = "ossctl.compare/1"

Choice = Literal["first", "second", "tie", "bad", "skip"]
Ruling = Literal["first", "second", "tie", "inconsistent", "failed"]


class Head(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="comparison"):
    """The first line. The settings are those of prompts that set none of their own."""

    schema: str = ""
    seed: int = 0
    temperature: float = 1.0
    max_tokens: int | None = None
    system: str = ""
    judge: str = ""


class Prompt(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="prompt"):
    """What all contestants were asked; each message has a `role` and its `content`."""

    id: str
    messages: tuple[dict[str, str], ...]

    @property
    def text(self) -> str:
        """The message to answer."""
        return self.messages[-1]["content"]


class Contestant(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="contestant"):
    """A model with its settings. `seconds` are those of all its answers together, without loading it."""

    label: str
    model: str  # as the user gave it
    name: str = ""  # as the file has it
    file: str = ""
    effort: str | None = None
    think: str | None = None
    template: str = ""
    context: int = 0  # tokens
    n_sequences: int = 0
    load_seconds: float = 0.0
    seconds: float = 0.0
    error: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="answer"):
    """What a contestant answered. `key` identifies all that the answer depends on.

    Times are in seconds from the start of its prompt's processing, with those of its tools.
    """

    prompt: str
    contestant: str
    key: str
    answer: str = ""
    reasoning: str = ""
    finish_reason: AnswerFinish | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_results: tuple[dict[str, Any], ...] = ()
    prompt_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    answer_tokens: int = 0
    first_token_seconds: float = 0.0
    seconds: float = 0.0
    seed: int = 0
    error: str = ""

    @property
    def completion_tokens(self) -> int:
        return self.reasoning_tokens + self.answer_tokens

    @property
    def tokens_per_second(self) -> float | None:
        """The speed after the first token."""
        later = self.seconds - self.first_token_seconds
        return (self.completion_tokens - 1) / later if later > 0 and self.completion_tokens > 1 else None

    @property
    def cut(self) -> bool:
        return self.finish_reason in (AnswerFinish.LENGTH, AnswerFinish.REPETITION)


class Vote(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="vote"):
    """Which of two answers the user preferred, without knowing whose they were."""

    prompt: str
    first: str  # a contestant's label
    second: str
    vote: Choice


class Opinion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the judge said of two answers in one order. It has no `verdict` if it `failed`."""

    verdict: Literal["first", "second", "tie"] | None = None
    reason: str = ""
    failed: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="verdict"):
    """The judge's ruling on two answers, from its opinions of both orders.

    In `swapped` the answers were in the other order; its verdict names the same contestants.
    """

    prompt: str
    judge: str
    first: str
    second: str
    ruling: Ruling
    opinion: Opinion
    swapped: Opinion


Record = Head | Prompt | Contestant | Answer | Vote | Verdict
Pair = tuple[str, str]  # labels of contestants


@dataclass
class Comparison:
    """Everything so far. Contestants appear once their model is loaded, or has failed to."""

    head: Head
    prompts: Sequence[Prompt]
    contestants: list[Contestant] = field(default_factory=list)
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)  # by (prompt, contestant)
    votes: list[Vote] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    def records(self) -> Iterator[Record]:
        """The lines, in their order."""
        yield self.head
        yield from self.prompts
        yield from self.contestants
        for prompt in self.prompts:
            yield from self.answers_to(prompt)
        yield from self.votes
        yield from self.verdicts

    @property
    def labels(self) -> list[str]:
        return [contestant.label for contestant in self.contestants]

    def answers_of(self, label: str) -> list[Answer]:
        """The answers of a contestant, in the order of the prompts."""
        return [
            self.answers[prompt.id, label] for prompt in self.prompts if (prompt.id, label) in self.answers
        ]

    def answers_to(self, prompt: Prompt) -> list[Answer]:
        """The answers to a prompt, in the order of the contestants."""
        found = (self.answers.get((prompt.id, label)) for label in self.labels)
        return [answer for answer in found if answer is not None]

    def pairs(self) -> Iterator[Pair]:
        """All pairs of contestants."""
        yield from combinations(self.labels, 2)

    def comparable(self) -> Iterator[tuple[Prompt, Answer, Answer]]:
        """Each prompt with each pair of answers to it. Failed answers, and none, cannot be compared."""
        for prompt in self.prompts:
            for pair in self.pairs():
                found = [answer for answer in self.answers_to(prompt) if answer.contestant in pair]
                if len(found) == 2 and not any(answer.error for answer in found):
                    yield prompt, found[0], found[1]


def encoded(records: Iterable[Record]) -> bytes:
    """Records as lines of JSON."""
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)


def decoded(data: bytes) -> list[Record]:
    """Raises msgspec.MsgspecError (DecodeError, ValidationError) for what are not lines of a comparison."""
    decoder = msgspec.json.Decoder(Record)
    return [decoder.decode(line) for line in data.splitlines() if line.strip()]
