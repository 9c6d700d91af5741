"""What is asked of a model, and an answer on its way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ossctl.app.inference.generation import Generation
from ossctl.dialect import Conversation, Effort, Event, JsonFormat, Message
from ossctl.engine.request import Request, Sampling
from ossctl.errors import RequestError, UsageError
from ossctl.planning.attention import USUAL_TOKENS

if TYPE_CHECKING:
    from ossctl.app.inference.loading import LoadedModel

_USUAL_PIECE = 8  # bytes of a token are fewer on average, so shorter texts may fit
_USUAL_CHARACTERS = 4  # of a token of English
_TEMPLATE_TOKENS = 4_096  # a chat template's own texts and markers come to a few hundred


@dataclass(frozen=True)
class GenerationSpec:
    """A conversation and how to draw its answer. `max_tokens` None is as many as there is room for.

    `timeout` is the seconds that the answer may take once it is begun.
    """

    conversation: Conversation
    max_tokens: int | None
    stops: tuple[str, ...]
    sampling: Sampling
    timeout: float | None = field(default=None, kw_only=True)

    @property
    def most_tokens(self) -> int | None:
        """What it comes to at most, answer and all, known before the model is; None if nothing limits it.

        A token has at least one byte of text. A template may write schemas with more blanks than there were.
        """
        if self.max_tokens is None:
            return None
        return 2 * len(repr(self.conversation).encode()) + _TEMPLATE_TOKENS + self.max_tokens

    @property
    def likely_tokens(self) -> tuple[int, int]:
        """Of the prompt and of the answer, guessed before the model is known."""
        text = sum(len(message.content) for message in self.conversation.messages)
        return text // _USUAL_CHARACTERS, min(self.max_tokens or USUAL_TOKENS, USUAL_TOKENS)


def pose(
    model: "LoadedModel",
    question: GenerationSpec,
    request_id: str,
    watch: Callable[[Event], None] | None = None,
    conversation: str = "",
) -> Generation:
    """The generation to submit for `question`; `watch` gets what it brings, on the engine's thread.

    `conversation` is as in `Request`.

    Raises RequestError if the model's format has no place for something or a schema can't be enforced.
    """
    prompt = model.dialect.render(question.conversation)
    request = replace(_request(model, question, request_id, prompt), conversation=conversation)
    return Generation(request, model.dialect.parser(prompt), question.stops, watch)


def pose_choices(model: "LoadedModel", question: GenerationSpec, n: int, request_id: str) -> list[Generation]:
    """`n` generations for one prompt, `ID`, `ID.1`, `ID.2`…, each with the next seed. Raises RequestError."""
    _refuse_endless(model, question.conversation)
    prompt = model.dialect.render(question.conversation)
    generations = []
    for place in range(n):
        sampling = replace(question.sampling, seed=question.sampling.seed + place)
        choice = replace(question, sampling=sampling)
        name = f"{request_id}.{place}" if place else request_id
        request = _request(model, choice, name, prompt)
        generations.append(Generation(request, model.dialect.parser(prompt), choice.stops))
    return generations


def _refuse_endless(model: "LoadedModel", conversation: Conversation) -> None:
    """What can't fit by its length alone is not made tokens, which would hold up all others.

    The last message counts, without the blanks around it: a template may leave away the rest. Raises
    RequestError.
    """
    text, room = conversation.messages[-1].content.strip(), model.runner.n_ctx_seq
    if len(text) < _USUAL_PIECE * room:
        return
    least = len(text.encode("utf-8", "replace")) // model.longest_piece
    if least > room:
        raise RequestError(
            f"the prompt has more than {least:,} tokens, the context {room:,}", code="context_length_exceeded"
        )


def _request(
    model: "LoadedModel", question: GenerationSpec, request_id: str, prompt: Sequence[int]
) -> Request:
    dialect = model.dialect
    room = model.runner.n_ctx_seq
    return Request(
        id=request_id,
        prompt=np.array(prompt, np.int32),
        max_tokens=room if question.max_tokens is None else question.max_tokens,
        sampling=question.sampling,
        end_ids=dialect.end_ids,
        guide=dialect.guide(question.conversation, prompt),
        timeout=question.timeout,
    )


def check_schema(json_format: JsonFormat | None, model: "LoadedModel") -> None:
    """Raise UsageError for a `--schema` that can't be enforced, before anything is asked."""
    if json_format is None:
        return
    conversation = Conversation((Message("user", "x"),), json_format=json_format)
    try:
        model.dialect.guide(conversation, model.dialect.render(conversation))
    except RequestError as error:
        _, _, reason = error.message.partition("schema: ")
        raise UsageError(f"--schema: {reason or error.message}") from None


def refuse_unsupported(effort: Effort | None, max_reasoning_tokens: int | None, model: "LoadedModel") -> None:
    """Raise UsageError for an option that has no meaning to `model`, before anything is asked."""
    given = {"--effort": effort, "--max-reasoning-tokens": max_reasoning_tokens}
    for name, value in given.items():
        if value is not None and model.dialect.default_effort is None:
            raise UsageError(f"{name} is for gpt-oss; {model.name} has no such setting")
