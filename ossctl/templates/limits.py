"""Limits on the work of a template, which comes with a model and is not to be trusted.

Rendering runs in this process, so every way to loop or to make something large is counted: each round of a
loop, each call and each value that an operator, a call or a filter makes draws on one budget. What is
counted is deterministic, so a slow machine renders the same prompts as a fast one.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from jinja2 import nodes
from jinja2.runtime import Context, Macro
from jinja2.utils import Namespace, pass_context
from jinja2.visitor import NodeTransformer

MAX_SOURCE = 2**17  # characters, compiled in a few seconds; the longest template of a known model has 40,000
_BUDGET = 2**27  # characters made by one rendering, plus a charge for each step
_PROBE_BUDGET = 2**25  # by all renderings on trial; those of known templates take up to 6 million
_STEP = 64  # the charge for a round of a loop or a call: two million of them take a second
_NODE = 8  # the charge for each node of the syntax tree in what a round or a call runs
_LONGEST = 2**24  # characters of one text
_MOST_ITEMS = 2**18  # of one value, nested ones included
_MOST_IN_TUPLE = 2**10
_LARGEST = 2**20  # number that a function or a filter gets
_MOST_BITS = 2**12  # of a whole number
_ORDERING = {"sort", "unique", "min", "max", "groupby", "dictsort"}
_APPLYING = {"map", "select", "reject", "selectattr", "rejectattr"}  # a filter or a test to each item
_WIDE_FIELD = re.compile(r"\d{5}|\*")  # in a format such as `%99999s`

TICK, JOINED, WEIGHED, OWN = "ossctl.tick", "ossctl.joined", "ossctl.weighed", "ossctl.own"
SMALL, SIZED = "ossctl.small", "ossctl.sized"


class OwnList(list[Any]):
    """A list that the template has made, so that it may change it."""


class TemplateTooLarge(Exception):
    """The template loops too long or makes too much text."""


@dataclass
class Budget:
    """What renderings may still make. Once it is spent, every further rendering fails at its first step."""

    left: int = _BUDGET

    @classmethod
    def for_probes(cls) -> "Budget":
        """The budget of all renderings by which the format of a template is found."""
        return cls(_PROBE_BUDGET)


_budget: ContextVar[Budget | None] = ContextVar("_budget", default=None)


@contextmanager
def limited(budget: Budget) -> Any:
    """Charge what a rendering makes to `budget`."""
    token = _budget.set(budget)
    try:
        yield
    finally:
        _budget.reset(token)


def charge(size: int) -> None:
    """Draw on the budget. Raises TemplateTooLarge."""
    if size > _LONGEST:
        raise TemplateTooLarge("it makes a text of more than 16 million characters")
    budget = _budget.get()
    if budget is not None:
        budget.left -= size
        if budget.left < 0:
            raise TemplateTooLarge("it loops too long or makes too much text")


def weighed(value: Any) -> Any:
    """`value`, if it is not too large to be copied, compared or printed. Raises TemplateTooLarge."""
    if isinstance(value, str):
        charge(len(value))
    elif isinstance(value, int):
        if value.bit_length() > _MOST_BITS:
            raise TemplateTooLarge("it makes a number of more than 1,000 digits")
    elif isinstance(value, Mapping | Sequence | set | Namespace):
        _weigh(value)
    return value


def _weigh(value: Any, most: int = _MOST_ITEMS) -> None:
    """Count all items, those that are in several places several times, as whoever prints them would."""
    stack, count = [value], 0
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            charge(len(item))
            continue
        if isinstance(item, Namespace):
            raise TemplateTooLarge("it prints a namespace")
        if isinstance(item, Mapping):
            stack += item.keys()
            stack += item.values()
        elif isinstance(item, list | tuple | set):
            stack += item
        count += 1
        if count + len(stack) > most:
            raise TemplateTooLarge(f"it makes a value of more than {most:,} items")
    charge(count * _STEP)


def check_binary(operator: str, left: Any, right: Any) -> None:
    """Refuse an operation before it makes something too large."""
    if operator == "%":
        if isinstance(left, str) and _WIDE_FIELD.search(left):
            raise TemplateTooLarge("it pads a text")
        return
    sizes = [len(side) if isinstance(side, str | list | tuple) else None for side in (left, right)]
    if operator == "*":
        size, times = (sizes[0], right) if sizes[0] is not None else (sizes[1], left)
        if size is not None and isinstance(times, int) and size * times > _MOST_ITEMS:
            raise TemplateTooLarge("it repeats a text or a list too often")
    elif operator == "**" and isinstance(left, int) and isinstance(right, int):
        if left.bit_length() * max(right, 0) > _MOST_BITS:
            raise TemplateTooLarge("it makes a number of more than 1,000 digits")
    elif operator == "+":
        charge(sum(filter(None, sizes)))


def check_call(function: Any, args: Sequence[Any]) -> None:
    """Charge a call, and refuse a method before it makes something too large."""
    charge(_STEP * 16 if isinstance(function, Macro) else _STEP)
    subject = getattr(function, "__self__", None)
    name = getattr(function, "__name__", "")
    if isinstance(subject, str):
        _check_text(name, subject, args)
    elif isinstance(subject, OwnList):
        weighed(args)
        if len(subject) >= _MOST_ITEMS:
            raise TemplateTooLarge("it makes a value of more than 262,144 items")
    elif not isinstance(function, Macro):
        _check_numbers(args)


def check_filter(name: str, args: Sequence[Any]) -> None:
    """As `check_call`, for a filter whose first argument is what it is applied to."""
    subject, rest = (args[0], args[1:]) if args else (None, ())
    if name == "sum" and any(isinstance(argument, str | list | tuple) for argument in rest):
        raise TemplateTooLarge("it adds up lists")
    if isinstance(subject, str):
        _check_text(name, subject, rest)
        return
    if name in _APPLYING and isinstance(subject, list | tuple | dict):
        charge(len(subject) * _STEP * 8)
    if name in _ORDERING and isinstance(subject, list | tuple | dict):
        weighed(subject)
        charge(len(subject) * _STEP * 8)
    if name in ("join", "string", "tojson", "safe", "escape", "e", "forceescape", "pprint", "format"):
        weighed(subject)
    if name == "join" and rest and isinstance(rest[0], str) and isinstance(subject, list | tuple | dict):
        charge(len(subject) * len(rest[0]))
    _check_numbers(rest)


def check_test(args: Sequence[Any]) -> None:
    """Charge a comparison that is written as a test."""
    for argument in args:
        weighed(argument)


def _check_numbers(args: Sequence[Any]) -> None:
    """No function of a template needs large numbers; many make something of that size."""
    if any(isinstance(argument, int) and abs(argument) > _LARGEST for argument in args):
        raise TemplateTooLarge("it calls a function with a large number")


def _check_text(name: str, text: str, args: Sequence[Any]) -> None:
    numbers = [abs(argument) for argument in args if isinstance(argument, int)]
    if name == "replace" and len(args) > 1 and isinstance(args[0], str) and isinstance(args[1], str):
        charge(len(text) + text.count(args[0]) * len(args[1]))
    elif name == "join" and args and isinstance(args[0], list | tuple | dict):
        weighed(args[0])
        charge(len(text) * len(args[0]))
    elif name in ("format", "format_map"):
        if _WIDE_FIELD.search(text):
            raise TemplateTooLarge("it pads a text")
        charge(text.count("{") * sum(len(a) for a in args if isinstance(a, str)))
    elif name in ("expandtabs", "indent", "batch", "wordwrap"):
        charge((1 + text.count("\t") + text.count("\n")) * max(numbers, default=8))
    else:
        charge(len(text) + max(numbers, default=0))


class Counted(NodeTransformer):
    """Rewrites a template so that loops, macros, literals and `~` are charged."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 (Jinja's name)
        return self._ticking(node, node.body)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        return self._ticking(node, node.body)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:  # noqa: N802
        return self._ticking(node, node.body)

    def _ticking(self, node: nodes.Node, body: list[nodes.Node]) -> nodes.Node:
        literal = sum(len(data.data) for part in body for data in part.find_all(nodes.TemplateData))
        literal += sum(len(data.data) for data in body if isinstance(data, nodes.TemplateData))
        inside = sum(1 for part in body for _ in part.find_all(nodes.Node))
        self.generic_visit(node)
        cost = literal + _STEP + inside * _NODE
        body.insert(0, nodes.ExprStmt(_filtered(nodes.Const(cost), TICK)))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes), JOINED)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.expr = _weighed_if_variable(node.expr)
        for operand in node.ops:
            operand.expr = _weighed_if_variable(operand.expr)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, SIZED) if isinstance(node.arg, nodes.Slice) else node

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, OWN)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, SMALL) if node.ctx == "load" else node

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _literal(node, [part for pair in node.items for part in (pair.key, pair.value)])


def _literal(node: nodes.Expr, items: Sequence[nodes.Node]) -> nodes.Node:
    return node if all(isinstance(item, nodes.Const) for item in items) else _filtered(node, WEIGHED)


def _weighed_if_variable(node: nodes.Expr) -> nodes.Expr:
    return node if isinstance(node, nodes.Const) else _filtered(node, WEIGHED)


def _filtered(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None)


@pass_context
def _tick(_: Context, cost: int) -> None:
    charge(min(cost, _LONGEST))


@pass_context
def _joined(_: Context, parts: list[Any]) -> str:
    text = "".join(part if isinstance(part, str) else str(weighed(part)) for part in parts)
    charge(len(text))
    return text


@pass_context
def _weighed(_: Context, value: Any) -> Any:
    return weighed(value)


@pass_context
def _own(_: Context, items: list[Any]) -> OwnList:
    return OwnList(weighed(items))


@pass_context
def _small(_: Context, value: tuple[Any, ...]) -> tuple[Any, ...]:
    """A tuple, which may become a key: its hash is computed at each use."""
    _weigh(value, most=_MOST_IN_TUPLE)
    return value


@pass_context
def _sized(_: Context, value: Any) -> Any:
    charge(len(value) if isinstance(value, str | list | tuple) else 0)
    return value


FILTERS: Mapping[str, Callable[..., Any]] = {
    TICK: _tick,
    JOINED: _joined,
    WEIGHED: _weighed,
    OWN: _own,
    SMALL: _small,
    SIZED: _sized,
}
