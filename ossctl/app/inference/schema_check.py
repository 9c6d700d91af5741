"""The last check of an answer: whether it is complete, and fits the schema that it was held to.

The grammar enforces nearly all of most schemas. What it cannot hold is found here.
"""

import json
from collections.abc import Mapping
from typing import Any

from ossctl.app.inference.generation import Generation
from ossctl.dialect import Conversation, Schema
from ossctl.engine.request import FinishReason
from ossctl.errors import RequestError
from ossctl.schemas.validator import complaint

_MAX_DIGITS = 4_300  # that Python converts to an integer


def misfit_of(conversation: Conversation, generation: Generation) -> RequestError | None:
    """Why a complete answer does not fit its schema, or a required call does not fit its function's."""
    if generation.stopped_by_string:
        return None
    after = f"after {generation.attempts} attempts, " if generation.attempts > 1 else ""
    answer, call = f"{after}the answer", f"{after}the call"
    if generation.finish is FinishReason.STOP and conversation.json_format is not None:
        return _misfit(answer, generation.content, conversation.json_format.schema)
    if generation.finish is FinishReason.TOOL_CALLS and conversation.tool_choice.mode == "required":
        schemas = {tool.name: tool.parameters for tool in conversation.tools}
        misfits = (_misfit(call, made.arguments, schemas.get(made.name)) for made in generation.calls)
        return next(filter(None, misfits), None)
    return None


def incomplete(conversation: Conversation, generation: Generation) -> RequestError | None:
    """Why an answer that has to have a format, or to be a call, ended before that was complete."""
    if not conversation.formatted and conversation.tool_choice.mode != "required":
        return None
    how = {
        FinishReason.LENGTH: "reached its token limit",
        FinishReason.REPETITION: "repeated itself",
        FinishReason.STOP: "reached a stop string" if generation.stopped_by_string else None,
    }.get(generation.finish or FinishReason.STOP)
    if how is None:
        return None
    what = "it" if conversation.text_format else "its JSON"
    where = "in its reasoning" if generation.cut_in_reasoning else f"before {what} was complete"
    return RequestError(f"the answer {how} {where}", code="schema_unsatisfied")


def misfit(text: str, schema: Mapping[str, Any]) -> str:
    """Why `text` is not JSON that fits `schema`; "" if it is."""
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_int=_integer, parse_constant=_constant)
        return complaint(value, schema)
    except RecursionError:
        return "it is nested too deeply"
    except ValueError as error:
        return str(error)


def _misfit(what: str, text: str, schema: Schema | None) -> RequestError | None:
    reason = misfit(text, schema or {})
    return RequestError(f"{what} does not fit the schema: {reason}", "schema_unsatisfied") if reason else None


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        repeated = next(name for index, (name, _) in enumerate(members) if name in dict(members[:index]))
        raise ValueError(f"the property {repeated[:80]!r} is repeated")
    return found


def _integer(digits: str) -> int:
    """An integer, with zeros for the digits that Python does not convert."""
    scale: int = 10 ** max(0, len(digits) - _MAX_DIGITS)
    return int(digits[:_MAX_DIGITS]) * scale


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
