"""Reads the arguments of calls, which models write as JSON."""

from typing import Any, TypeVar

import msgspec

from ossctl.dialect import ToolCall

_Form = TypeVar("_Form")


def json_arguments(call: ToolCall) -> Any:
    """The arguments as a JSON value; no text means an empty object. Raises ValueError for the model."""
    try:
        return msgspec.json.decode(call.arguments.strip() or "{}")
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"the arguments are not valid JSON: {error}") from None


def arguments_of(call: ToolCall, form: type[_Form]) -> _Form:
    """The arguments in the form of an object; numbers may be strings. Raises ValueError for the model."""
    given = json_arguments(call)
    try:
        return msgspec.convert(given, form, strict=False)
    except msgspec.ValidationError as error:
        wrong = str(error).replace("`$.", "`").replace(" - at", ":")
        raise ValueError(
            wrong if isinstance(given, dict) else "the arguments are not a JSON object"
        ) from None


def program_input(call: ToolCall) -> str:
    """The arguments as JSON without whitespace. Raises ValueError."""
    return msgspec.json.encode(json_arguments(call)).decode()
