"""What is wrong with the value of an option, in our words."""

from collections.abc import Mapping
from typing import Any

import typer

# By pydantic's name of the error, with which Typer reads values.
_WHOLE = "{input!r} is not a whole number"
_NUMBER = "{input!r} is not a number"
_WORDS: Mapping[str, str] = {
    "int_parsing": _WHOLE,
    "int_parsing_size": "{input!r} is too large",
    "int_from_float": _WHOLE,
    "int_type": _WHOLE,
    "finite_number": _NUMBER,
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "bool_parsing": "{input!r} is neither true nor false",
    "bool_type": "{input!r} is neither true nor false",
    "greater_than_equal": "{input} is less than {ge}",
    "less_than_equal": "{input} is more than {le}",
}


def bad_value(error: typer.BadParameter) -> str:
    """Why an option does not take its value: our own words for what Typer leaves to pydantic."""
    errors = getattr(error.__cause__, "errors", None)
    if errors is None:
        return error.message
    found: dict[str, Any] = errors()[0]
    if words := _WORDS.get(found["type"]):
        return words.format(input=found["input"], **found.get("ctx", {}))
    return error.message.removeprefix("Value error, ")
