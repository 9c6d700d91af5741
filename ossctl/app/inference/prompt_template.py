"""The template of `--prompt` and its variables, from the command line."""

from collections.abc import Sequence
from typing import Any

import msgspec

from ossctl.app.user_text import encodable, text_of
from ossctl.errors import RequestError, UsageError
from ossctl.templates.prompt import INPUT, PromptTemplate


def prompt_template(given: str, variables: Sequence[str] = ()) -> PromptTemplate:
    """The template in `--prompt TEXT|@FILE`, with each `--var NAME=VALUE`. Raises UsageError."""
    text = text_of(given)
    if not text.strip():
        raise UsageError("--prompt is empty")
    return PromptTemplate(text, dict(map(_variable, variables)))


def filled(template: PromptTemplate, text: str) -> str:
    """The prompt that the template makes of `text`. Raises UsageError."""
    try:
        return template.render({INPUT: text})
    except RequestError as error:
        hint = "Give it with --var NAME=VALUE." if "is undefined" in error.message else ""
        raise UsageError(error.message, hint) from None


def _variable(given: str) -> tuple[str, Any]:
    """The name and the value, which is JSON, or text if it is not valid JSON."""
    name, equals, text = encodable(given).partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(
            f"--var {encodable(given)[:80]}: expected NAME=VALUE", "For example: language=French."
        )
    try:
        return name, msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return name, text
