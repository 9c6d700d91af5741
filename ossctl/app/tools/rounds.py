"""From the results of an answer's calls to the next answer."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from ossctl.app.inference.generation import Generation, RunningTotals
from ossctl.app.inference.request import GenerationSpec
from ossctl.app.tools.source import ToolOutcome, failed
from ossctl.dialect import Conversation, Message, ToolCall, ToolChoice

if TYPE_CHECKING:
    from ossctl.app.inference.loading import LoadedModel

_RESERVE_SHARE = 8  # of the context window, for the answer
_MAX_RESERVE = 1_024  # tokens
_MAX_MARKERS = 64  # tokens around a result

_Spec = TypeVar("_Spec", bound=GenerationSpec)


def next_round(
    spec: _Spec, generation: Generation, outcomes: Sequence[ToolOutcome], *, may_call: bool
) -> _Spec:
    """Append the answer and the results of its calls to the conversation.

    A call that was required has been made: the next answer may have none. It must not if not `may_call`.
    """
    answer = Message(
        "assistant",
        generation.content,
        generation.reasoning,
        tuple(generation.calls),
        token_ids=tuple(generation.tokens),
    )
    conversation = spec.conversation
    messages = (*conversation.messages, answer, *map(_result_of, outcomes))
    choice = ToolChoice("auto" if may_call else "none")
    return replace(spec, conversation=replace(conversation, messages=messages, tool_choice=choice))


class ResultSpace:
    """The space of the context window for the results of an answer's calls, in their order."""

    def __init__(self, model: "LoadedModel", conversation: Conversation, generation: Generation) -> None:
        """`conversation` ends with the answer, `generation`."""
        n_ctx = model.runner.n_ctx_seq
        self._limit = n_ctx - min(_MAX_RESERVE, n_ctx // _RESERVE_SHARE)
        self._dialect = model.dialect
        self._conversation = conversation
        self._used = len(generation.request.prompt) + generation.completion_tokens  # at most

    def fit(self, results: Iterable[ToolOutcome | ToolCall]) -> Iterator[ToolOutcome | ToolCall]:
        """What a `ToolRunner` yields, with failures in place of outcomes without space."""
        for result in results:
            yield self.take(result) if isinstance(result, ToolOutcome) else result

    def take(self, outcome: ToolOutcome) -> ToolOutcome:
        """The outcome, or a failure in place of one that would leave no space for an answer."""
        used, conversation = self._with(outcome)
        if used > self._limit:  # every byte counted as a token
            used = len(self._dialect.render(conversation))
        if used > self._limit:
            size = len(outcome.result.encode("utf-8", "replace"))
            reason = f"the result, {size:,} bytes, does not fit into the context window; ask for less"
            outcome = replace(failed(outcome.call, reason), seconds=outcome.seconds)
            used, conversation = self._with(outcome)
        self._used, self._conversation = used, conversation
        return outcome

    def _with(self, outcome: ToolOutcome) -> tuple[int, Conversation]:
        message = _result_of(outcome)
        used = self._used + len(message.content.encode("utf-8", "replace")) + _MAX_MARKERS
        messages = (*self._conversation.messages, message)
        return used, replace(self._conversation, messages=messages)


def fitting(
    model: "LoadedModel", spec: GenerationSpec, generation: Generation, outcomes: Sequence[ToolOutcome]
) -> tuple[ToolOutcome, ...]:
    """The outcomes, with failures in place of those that do not fit into the context window."""
    space = space_after(model, spec, generation)
    return tuple(space.take(outcome) for outcome in outcomes)


def space_after(model: "LoadedModel", spec: GenerationSpec, generation: Generation) -> ResultSpace:
    """The space for the results of a generation's calls."""
    conversation = next_round(spec, generation, (), may_call=True).conversation
    return ResultSpace(model, conversation, generation)


def totals_after(generation: Generation, outcomes: Sequence[ToolOutcome]) -> RunningTotals:
    """What comes before the next answer."""
    earlier = generation.totals
    results = (*earlier.tool_results, *map(_record_of, outcomes))
    return replace(earlier, tool_results=results)


def _result_of(outcome: ToolOutcome) -> Message:
    return Message("tool", outcome.result, tool=outcome.call.name)


def _record_of(outcome: ToolOutcome) -> dict[str, Any]:
    return {
        "name": outcome.call.name,
        "arguments": outcome.call.arguments,
        "result": outcome.result,
        "ok": outcome.ok,
        "seconds": round(outcome.seconds, 3),
    }
