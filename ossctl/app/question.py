"""What is asked of a model, and an answer on its way."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ossctl.app.generation import Generation
from ossctl.app.loading import LoadedModel
from ossctl.dialect import Conversation, Effort, Event
from ossctl.engine.request import Request, Sampling
from ossctl.errors import UsageError

_TEMPLATE_TOKENS = 4_096  # a chat template's own texts and markers come to a few hundred


@dataclass(frozen=True)
class Question:
    """A conversation and how to draw its answer. `max_tokens` None is as many as there is room for."""

    conversation: Conversation
    max_tokens: int | None
    stops: tuple[str, ...]
    sampling: Sampling

    @property
    def most_tokens(self) -> int | None:
        """What it comes to at most, answer and all, known before the model is; None if nothing limits it.

        A token has at least one byte of text. A template may write schemas with more blanks than there were.
        """
        if self.max_tokens is None:
            return None
        return 2 * len(repr(self.conversation).encode()) + _TEMPLATE_TOKENS + self.max_tokens


def pose(
    model: LoadedModel,
    question: Question,
    request_id: str,
    watch: Callable[[Event], None] | None = None,
) -> Generation:
    """The generation to submit for `question`; `watch` gets what it brings, on the engine's thread.

    Raises RequestError if the model's format has no place for something or a schema can't be enforced.
    """
    dialect = model.dialect
    prompt = dialect.render(question.conversation)
    room = model.runner.n_ctx_seq
    request = Request(
        id=request_id,
        prompt=np.array(prompt, np.int32),
        max_tokens=room if question.max_tokens is None else question.max_tokens,
        sampling=question.sampling,
        end_ids=dialect.end_ids,
        guide=dialect.guide(question.conversation, prompt),
    )
    return Generation(request, dialect.parser(prompt), question.stops, watch)


def refuse_unsupported(effort: Effort | None, max_reasoning_tokens: int | None, model: LoadedModel) -> None:
    """Raise UsageError for an option that has no meaning to `model`, before anything is asked."""
    given = {"--effort": effort, "--max-reasoning-tokens": max_reasoning_tokens}
    for name, value in given.items():
        if value is not None and model.dialect.default_effort is None:
            raise UsageError(f"{name} is for gpt-oss; {model.name} has no such setting")
