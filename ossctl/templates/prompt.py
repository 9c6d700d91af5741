"""Prompts rendered from records with the user's Jinja template."""

from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined
from jinja2.exceptions import TemplateSyntaxError

from ossctl.errors import RequestError, UsageError
from ossctl.templates.environment import chat_environment, rendered


class PromptTemplate:
    """A template with a record's fields as variables, and `record` for fields that are not identifiers."""

    def __init__(self, text: str) -> None:
        """Compile `text`. Raises UsageError if it is not valid Jinja."""
        environment = chat_environment().overlay(
            undefined=StrictUndefined, trim_blocks=False, lstrip_blocks=False
        )
        try:
            self._template = environment.from_string(text)
        except TemplateSyntaxError as error:
            raise UsageError(f"--prompt: {error.message} (line {error.lineno})") from None

    def render(self, record: Mapping[str, Any]) -> str:
        """The prompt for a record. Raises RequestError if a field is missing or the template fails."""
        try:
            prompt = rendered(self._template, {"record": record, **record})
            prompt.encode()  # fails on lone surrogates
        except Exception as error:  # noqa: BLE001 (templates are programs: they can fail in any way)
            reason = str(error) or type(error).__name__
            raise RequestError(f"--prompt: {reason}", code="template_failed") from None
        return prompt
