"""Compiling the text of a chat template."""

from typing import NamedTuple

from jinja2 import Template, TemplateSyntaxError
from jinja2.meta import find_undeclared_variables

from ossctl.templates.environment import chat_environment

OWN_TEMPLATE = "the model's chat template"


class BrokenTemplate(Exception):
    """The text is not valid Jinja."""


class CompiledTemplate(NamedTuple):
    """`reads` are the variables that the template does not set itself."""

    template: Template
    reads: frozenset[str]


def compiled(text: str) -> CompiledTemplate:
    """Compile a template. Raises BrokenTemplate."""
    environment = chat_environment()
    try:
        reads = find_undeclared_variables(environment.parse(text))
        return CompiledTemplate(environment.from_string(text), frozenset(reads))
    except TemplateSyntaxError as error:
        raise BrokenTemplate(f"line {error.lineno}: {error.message}") from None
    except Exception as error:  # noqa: BLE001 (templates are programs: they can fail in any way)
        raise BrokenTemplate(str(error) or type(error).__name__) from None
