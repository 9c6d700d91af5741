"""Declares functions in the system message, for templates that write calls but declare no functions."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

_INTRO = "You may call these functions:"
_FORM = "Write a call exactly like this, with the function's name and its arguments:"


def with_tools_note(
    messages: Sequence[Mapping[str, Any]], declarations: Sequence[Mapping[str, Any]], example: str
) -> list[dict[str, Any]]:
    """`messages` with the functions and the `example` of a call at the end of the system text."""
    functions = [json.dumps(each["function"], ensure_ascii=False) for each in declarations]
    note = "\n\n".join([_INTRO, "\n".join(functions), _FORM, example])
    first, others = dict(messages[0]), list(map(dict, messages[1:]))
    if first["role"] in ("system", "developer"):
        return [first | {"content": f"{first['content']}\n\n{note}"}, *others]
    return [{"role": "system", "content": note}, first, *others]
