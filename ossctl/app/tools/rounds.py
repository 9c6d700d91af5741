"""From the results of an answer's calls to the next answer."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from ossctl.app.inference.generation import Generation, RunningTotals
from ossctl.app.inference.request import GenerationSpec
from ossctl.app.tools.source import ToolOutcome
from ossctl.dialect import Message, ToolChoice

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
    results = [Message("tool", outcome.result, tool=outcome.call.name) for outcome in outcomes]
    conversation = spec.conversation
    messages = (*conversation.messages, answer, *results)
    choice = ToolChoice("auto" if may_call else "none")
    return replace(spec, conversation=replace(conversation, messages=messages, tool_choice=choice))


def totals_after(generation: Generation, outcomes: Sequence[ToolOutcome]) -> RunningTotals:
    """What comes before the next answer."""
    earlier = generation.totals
    results = (*earlier.tool_results, *map(_record_of, outcomes))
    return replace(earlier, tool_results=results)


def _record_of(outcome: ToolOutcome) -> dict[str, Any]:
    return {
        "name": outcome.call.name,
        "arguments": outcome.call.arguments,
        "result": outcome.result,
        "ok": outcome.ok,
        "seconds": round(outcome.seconds, 3),
    }
