"""The Jinja environment of chat templates, set up as in Transformers."""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from jinja2 import Template, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ossctl.templates import limits

_COMPARING = {"in", "eq", "==", "equalto", "ne", "!=", "lt", "<", "le", "<=", "gt", ">", "ge", ">="}
_COMPARING |= {"lessthan", "greaterthan"}


class TemplateRefusal(Exception):
    """The template rejected its input by calling `raise_exception`."""


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox whose templates are limited in what they do, because they come with models.

    It changes nothing it is given, but may use its own lists as queues, as templates of Kimi-K2 do.
    """

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        if len(source) > limits.MAX_SOURCE:
            raise limits.TemplateTooLarge(f"it has more than {limits.MAX_SOURCE:,} characters")
        tree: nodes.Template = limits.Counted().visit(super()._parse(source, name, filename))
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        limits.check_binary(operator, left, right)
        return limits.weighed(super().call_binop(context, operator, left, right))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if attr in ("append", "pop") and isinstance(obj, limits.OwnList):
            return True
        return super().is_safe_attribute(obj, attr, value)

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        limits.check_call(function, (*args, *kwargs.values()))
        result = super().call(context, function, *args, **kwargs)
        if isinstance(result, str):
            limits.charge(len(result))
        return result


class GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}` marks what a model is trained on; prompts ignore it."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's attribute)

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def chat_environment() -> ChatEnvironment:
    """An environment with the filters, functions and tags that Transformers gives to chat templates."""
    environment = ChatEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, GenerationTag], finalize=_printable
    )
    environment.globals.pop("lipsum")  # makes random text of any length
    environment.filters |= {"tojson": _tojson, "from_json": _from_json}
    environment.filters = {name: _limited(name, f) for name, f in environment.filters.items()}
    environment.filters.update(limits.FILTERS)
    comparing: dict[str, Any] = {name: test for name, test in environment.tests.items() if name in _COMPARING}
    environment.tests.update({name: _charged(test) for name, test in comparing.items()})
    environment.globals["raise_exception"] = _raise_exception
    return environment


def rendered(template: Template, variables: Mapping[str, Any], budget: limits.Budget | None = None) -> str:
    """The text of a template. Raises TemplateTooLarge, TemplateRefusal, or whatever the template does.

    `budget` is shared by several renderings; None if this one has its own.
    """
    with limits.limited(budget or limits.Budget()):
        parts = []
        for part in template.generate(variables):
            limits.charge(len(part))
            parts.append(part)
    return "".join(parts)


def _charged(test: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(test)
    def charged(*args: Any) -> Any:
        limits.check_test(args)
        return test(*args)

    return charged


def _limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    passed = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)  # with the attribute by which Jinja knows what to pass
    def limited(*args: Any, **kwargs: Any) -> Any:
        limits.check_filter(name, (*args[passed:], *kwargs.values()))
        result = function(*args, **kwargs)
        if isinstance(result, str):
            limits.charge(len(result))
        return result

    return limited


def _printable(value: Any) -> Any:
    return value if isinstance(value, str) else limits.weighed(value)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON; Jinja's own filter escapes it for HTML. Generators, such as of `map`, are lists."""
    value = limits.weighed(list(value) if isinstance(value, Iterator) else value)
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _from_json(text: str) -> Any:
    return json.loads(text)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateRefusal(message)
