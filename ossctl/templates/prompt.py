"""Prompts rendered from records with the user's Jinja template."""

from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined
from jinja2.exceptions import TemplateSyntaxError
from jinja2.meta import find_undeclared_variables

from ossctl.errors import RequestError, UsageError
from ossctl.templates.environment import chat_environment, rendered

INPUT = "input"  # the variable for the text that the template is about
_TEXT_FIELDS = ("prompt", "text")  # that `input` means if a record has no field of that name


class PromptTemplate:
    """A template with a record's fields as variables, and `record` for fields that are not identifiers.

    `variables` are those that a record need not have.
    """

    def __init__(self, text: str, variables: Mapping[str, Any] | None = None) -> None:
        """Compile `text`. Raises UsageError if it is not valid Jinja."""
        environment = chat_environment().overlay(
            undefined=StrictUndefined, trim_blocks=False, lstrip_blocks=False
        )
        try:
            self._template = environment.from_string(text)
            self._names = find_undeclared_variables(environment.parse(text))
        except TemplateSyntaxError as error:
            raise UsageError(f"--prompt: {error.message} (line {error.lineno})") from None

        self._text = text
        self._variables = dict(variables or {})

    def __reduce__(self) -> tuple[Any, ...]:
        return PromptTemplate, (self._text, self._variables)

    @property
    def takes_input(self) -> bool:
        """Whether the template contains the text that it is about."""
        return INPUT in self._names

    def render(self, record: Mapping[str, Any]) -> str:
        """The prompt for a record. Raises RequestError if a field is missing or the template fails."""
        try:
            named = next(({INPUT: record[name]} for name in _TEXT_FIELDS if name in record), {})
            prompt = rendered(self._template, {**self._variables, "record": record, **named, **record})
            prompt.encode()  # fails on lone surrogates
        except Exception as error:  # noqa: BLE001 (templates are programs: they can fail in any way)
            reason = str(error) or type(error).__name__
            raise RequestError(f"--prompt: {reason}", code="template_failed") from None
        return prompt
