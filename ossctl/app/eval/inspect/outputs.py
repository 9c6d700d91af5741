"""Answers as outputs of Inspect's models."""

import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    Content,
    ContentReasoning,
    ContentText,
    Logprob,
    Logprobs,
    ModelCall,
    ModelOutput,
    ModelUsage,
    StopReason,
    TopLogprob,
)
from inspect_ai.model._call_tools import parse_tool_call  # as all providers read the arguments of calls
from inspect_ai.tool import ToolCall, ToolInfo

from ossctl.app.eval.inspect.engine import Choice
from ossctl.app.inference.generation import Generation
from ossctl.app.inference.schema_check import misfit_of
from ossctl.app.wire.chat_completions import Task
from ossctl.engine.request import FinishReason, TokenLogprob

_STOP_REASONS: dict[FinishReason | None, StopReason] = {
    FinishReason.STOP: "stop",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.REPETITION: "max_tokens",  # the message's metadata says which
}


class Outputs:
    """Makes outputs of the answers of one model. `hidden` are functions whose calls Inspect does not see."""

    def __init__(self, model: str, piece: Callable[[int], bytes], hidden: Collection[str] = ()) -> None:
        self._model = model
        self._piece = piece
        self._hidden = frozenset(hidden)

    def output(
        self,
        task: Task,
        choices: Sequence[Choice],
        tools: Sequence[ToolInfo],
        *,
        max_calls: int | None = None,
    ) -> ModelOutput:
        """The output for all choices of a task, each with its first `max_calls` calls."""
        output = ModelOutput(
            model=self._model,
            choices=[self._choice(task, choice, tools, max_calls) for choice in choices],
            usage=_usage([choice.generation for choice in choices]),
        )
        if "input_context_tokens" in ModelOutput.model_fields:
            output.input_context_tokens = choices[0].prompt_tokens
        return output

    def overflow(self, reason: str) -> ModelOutput:
        """The output for a prompt that does not fit into the context window."""
        return ModelOutput.from_content(self._model, reason, "model_length")

    def _choice(
        self, task: Task, choice: Choice, tools: Sequence[ToolInfo], max_calls: int | None
    ) -> ChatCompletionChoice:
        generation = choice.generation
        message = ChatMessageAssistant(
            content=_content(generation),
            tool_calls=list(self._calls(generation, tools))[:max_calls] or None,
            model=self._model,
            source="generate",
            metadata=_details(choice) or None,
        )
        logprobs = [self._logprob(*entry) for entry in generation.logprobs]
        return ChatCompletionChoice(
            message=message,
            stop_reason=_stop_reason(generation),
            logprobs=None if task.sampling.logprobs is None else Logprobs(content=logprobs),
        )

    def _calls(self, generation: Generation, tools: Sequence[ToolInfo]) -> Iterator[ToolCall]:
        calls = [call for call in generation.calls if call.name not in self._hidden]
        for call in calls:
            made = parse_tool_call(f"call_{uuid.uuid4().hex}", call.name, call.arguments, list(tools))
            if call.cut:
                made.parse_error = "The call was cut off before its end."
            yield made

    def _logprob(self, token: int, entry: TokenLogprob) -> Logprob:
        text, data = self._text(token)
        top = [
            TopLogprob(token=self._text(other)[0], logprob=value, bytes=self._text(other)[1])
            for other, value in entry.top
        ]
        return Logprob(token=text, logprob=entry.logprob, bytes=data, top_logprobs=top)

    def _text(self, token: int) -> tuple[str, list[int]]:
        piece = self._piece(token)
        return piece.decode("utf-8", "replace"), list(piece)


def call_of(task: Task, choices: Sequence[Choice]) -> ModelCall:
    """What Inspect's log says of a request beside the messages: the settings in effect, how it ended."""
    conversation, sampling = task.conversation, task.sampling
    settings: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "seed": sampling.seed,
        "max_tokens": task.max_tokens,
        "max_reasoning_tokens": conversation.max_reasoning_tokens,
        "reasoning_effort": conversation.effort,
        "think": conversation.think,
        "date": conversation.date and conversation.date.isoformat(),
    }
    return ModelCall(
        request={name: value for name, value in settings.items() if value is not None},
        response={"finish_reasons": [str(choice.generation.finish) for choice in choices]},
        time=max(choice.seconds for choice in choices),
    )


def _content(generation: Generation) -> str | list[Content]:
    if not generation.all_reasoning:
        return generation.content
    reasoning = ContentReasoning(reasoning=generation.all_reasoning)
    return [reasoning, ContentText(text=generation.content)] if generation.content else [reasoning]


def _stop_reason(generation: Generation) -> StopReason:
    full = generation.completion_tokens < generation.request.max_tokens
    if generation.finish is FinishReason.LENGTH and full:  # of the context window
        return "model_length"
    return _STOP_REASONS.get(generation.finish, "unknown")


def _details(choice: Choice) -> dict[str, Any]:
    """How an answer came about, as far as it is not usual."""
    generation, misfit = choice.generation, misfit_of(choice.spec.conversation, choice.generation)
    details = {
        "finish": "repetition" if generation.finish is FinishReason.REPETITION else None,
        "cut_in": "reasoning" if generation.cut_in_reasoning else None,
        "attempts": generation.attempts if generation.attempts > 1 else None,
        "recovered": list(generation.recovered),
        "misfit": misfit and misfit.message,
        "tool_results": list(generation.earlier.tool_results),
    }
    return {name: value for name, value in details.items() if value}


def _usage(generations: Sequence[Generation]) -> ModelUsage:
    """Token counts; the prompt, which the choices share, counts once. Answers sampled again count as well."""
    totals = [generation.totals for generation in generations]
    prompt = len(generations[0].request.prompt) + sum(each.earlier.prompt for each in generations)
    cached = min(each.cached_tokens for each in generations) + sum(
        each.earlier.cached for each in generations
    )
    completion = sum(each.completion for each in totals)
    return ModelUsage(
        input_tokens=prompt - cached,
        input_tokens_cache_read=cached,
        output_tokens=completion,
        total_tokens=prompt + completion,
        reasoning_tokens=sum(each.reasoning for each in totals),
    )
