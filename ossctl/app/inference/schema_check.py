"""The last check of an answer: whether it fits the schema that it was held to.

The grammar enforces nearly all of a schema. It cannot see that a property name is repeated, for one.
"""

import functools
import json
import re
from typing import TYPE_CHECKING, Any

import msgspec

from ossctl.app.inference.generation import Generation
from ossctl.dialect import Conversation, Schema
from ossctl.engine.request import FinishReason
from ossctl.errors import RequestError

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_CACHED_VALIDATORS = 64
_MAX_DIGITS = 4_300  # that Python converts to an integer
_MAX_REASON = 300  # characters

# The grammar enforces these exactly. The validator rounds numbers, and its patterns have another syntax.
_HELD_BY_THE_GRAMMAR = ("pattern", "multipleOf")


def misfit_of(conversation: Conversation, generation: Generation) -> RequestError | None:
    """Why a complete answer does not fit its schema, or a required call does not fit its function's."""
    if generation.stopped_by_string:
        return None
    if generation.finish is FinishReason.STOP and conversation.json_format is not None:
        return _misfit("the answer", generation.content, conversation.json_format.schema)
    if generation.finish is FinishReason.TOOL_CALLS and conversation.tool_choice.mode == "required":
        schemas = {tool.name: tool.parameters for tool in conversation.tools}
        misfits = (_misfit("the call", call.arguments, schemas.get(call.name)) for call in generation.calls)
        return next(filter(None, misfits), None)
    return None


def _misfit(what: str, text: str, schema: Schema | None) -> RequestError | None:
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_int=_integer, parse_constant=_constant)
        reason = _complaint(value, schema or {})
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:
        reason = str(error)
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


def _complaint(value: Any, schema: Schema) -> str:
    """What a validator says about `value`; "" if it fits."""
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    validator = _validator(msgspec.json.encode(schema))
    if validator is None:
        return ""
    try:
        error = best_match(validator.iter_errors(value))
    except (Unresolvable, re.error):  # a reference or a pattern that only the grammar's compiler understands
        return ""
    if error is None:
        return ""
    where = f"at {error.json_path}: " if error.absolute_path else ""
    return f"{where}{error.message}"[:_MAX_REASON]


@functools.lru_cache(maxsize=_CACHED_VALIDATORS)
def _validator(schema: bytes) -> "Validator | None":
    """A validator of a schema in JSON; None if the schema itself is not valid. It fetches nothing."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, extend, validator_for
    from referencing import Registry

    decoded = msgspec.json.decode(schema)
    kind = validator_for(decoded, default=Draft202012Validator)
    try:
        kind.check_schema(decoded)
    except SchemaError:
        return None
    checker = extend(kind, dict.fromkeys(_HELD_BY_THE_GRAMMAR, _accept))  # type: ignore[no-untyped-call]
    validator: Validator = checker(decoded, registry=Registry())
    return validator


def _accept(*_: object) -> None:
    """A keyword that is not checked again."""
