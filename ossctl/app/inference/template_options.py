"""The command line's chat template and its variables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import msgspec

from ossctl.app.placement.load_options import ChatTemplate
from ossctl.app.user_text import encodable, read_text
from ossctl.dialect import Effort
from ossctl.errors import UsageError

# Variables of chat templates that say what a request says in its other fields.
OWN_VARIABLES = frozenset(
    {
        "messages",
        "tools",
        "add_generation_prompt",
        "bos_token",
        "eos_token",
        "strftime_now",
        "raise_exception",
    }
)

_MAX_DEPTH = 100  # of a value


@dataclass(frozen=True)
class TemplateOptions:
    """`--template`, None if it is not given, and each `--template-var`. An empty file is the model's own.

    A file that `is_default` gives way to the template of what is continued.
    """

    file: str | None = None
    variables: Sequence[str] = ()
    is_default: bool = False

    def template(self) -> ChatTemplate | None:
        """The template in the file; None if that is the model's own. Raises UsageError."""
        return read_template(Path(self.file)) if self.file else None

    def values(self) -> dict[str, Any]:
        """The variables by name; null leaves one unset, and the last value counts. Raises UsageError."""
        values = dict(map(template_variable, self.variables))
        return {name: value for name, value in values.items() if value is not None}


def read_template(path: Path) -> ChatTemplate:
    """The template in a file. Raises UsageError if it cannot be read or renders no chat."""
    from ossctl.templates.derive import chat_problem  # Jinja, which other chats do not wait for
    from ossctl.templates.source import BrokenTemplate, compiled

    template = ChatTemplate(read_text(path), path)
    try:
        compiled(template.text)
    except BrokenTemplate as error:
        raise UsageError(f"{template.name} is broken: {error}") from None
    if problem := chat_problem(template.text):
        raise UsageError(f"{template.name} {problem}")
    return template


def is_deeper(value: object, levels: int) -> bool:
    """Whether a JSON value is nested deeper than `levels`."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return levels == 0 or any(is_deeper(item, levels - 1) for item in value)


def template_variable(given: str) -> tuple[str, Any]:
    """The name and the value of NAME=VALUE. Raises UsageError."""
    name, equals, text = encodable(given).partition("=")
    if not equals or not name.isidentifier():
        message = f"template variable {encodable(given)[:80]!r} is not NAME=VALUE"
        raise UsageError(message, "For example: enable_thinking=false.")
    if name in OWN_VARIABLES:
        raise UsageError(f"template variable {name} cannot be set: it is made from the request")
    value = _value(name, text)
    if name == "reasoning_effort" and value in get_args(Effort):
        raise UsageError("template variable reasoning_effort has an option", f"Use --effort {value}.")
    return name, value


def _value(name: str, text: str) -> Any:
    """JSON if it is, else the text itself."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    except RecursionError:
        value = None
    else:
        if not is_deeper(value, _MAX_DEPTH):
            return value
    raise UsageError(f"template variable {name}: nested too deeply")
