"""Rendering a template on trial: what it writes for conversations made of sentinels."""

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jinja2 import Template, nodes

from ossctl.templates.environment import chat_environment, rendered
from ossctl.templates.limits import Budget

Messages = Sequence[Mapping[str, Any]]

USER, TEXT, THOUGHT, SYSTEM, RESULT = "zqUser", "zqText", "zqThought", "zqSystem", "zqResult"
FIRST, SECOND = "zqalpha", "zqbeta"  # names of functions
IDS = ("zqcall001", "zqcall002", "zqcall003")  # nine letters and digits, which every template takes

# Variables that every template may count on; the others are its own.
_USUAL = {
    "messages", "tools", "functions", "documents", "add_generation_prompt", "continue_final_message",
    "bos_token", "eos_token", "pad_token", "unk_token", "strftime_now", "raise_exception", "namespace",
    "range", "dict", "joiner", "cycler", "loop", "caller", "varargs", "kwargs", "datetime",
}  # fmt: skip
_DATE = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


class Probe:
    """A template, and what it renders or None where it fails."""

    def __init__(self, source: str) -> None:
        """Compile `source`. Raises whatever Jinja raises."""
        environment = chat_environment()
        self.source = source
        self.tree = environment.parse(source)
        self._template: Template = environment.from_string(source)
        self._budget = Budget.for_probes()
        self.failure = ""  # of the latest rendering that failed
        self.given: dict[str, Any] = {}  # variables for all renderings, beside the usual ones
        self.asked = _names(self.tree)

    @property
    def is_exhausted(self) -> bool:
        """Whether the renderings so far were more work than any honest template is."""
        return self._budget.left < 0

    def render(self, messages: Messages, *, prompt: bool = False, **variables: Any) -> str | None:
        usual = {"strftime_now": _DATE.strftime, "bos_token": "<zqbos>", "eos_token": "<zqeos>"}
        known = usual | self.given | variables | {"messages": messages, "add_generation_prompt": prompt}
        try:
            return rendered(self._template, known, self._budget)
        except Exception as error:  # noqa: BLE001 (a failure of any kind is an answer: this form does not suit)
            self.failure = str(error) or type(error).__name__
            return None

    def turn(self, *answer: Mapping[str, Any], **variables: Any) -> str | None:
        """What `answer` adds to a conversation with one user message: the text after that message."""
        text = self.render([user(), *answer], **variables)
        return None if text is None or USER not in text else text[text.rfind(USER) + len(USER) :]

    def prompt(self, **variables: Any) -> str | None:
        """What follows the user message where the model is to answer."""
        text = self.render([user()], prompt=True, **variables)
        return None if text is None or USER not in text else text[text.rfind(USER) + len(USER) :]

    def constants(self, name: str) -> list[str]:
        """Texts that the template compares a variable with, or looks for in a list of."""
        found: list[str] = []
        for compare in self.tree.find_all(nodes.Compare):
            if any(inner.name == name for inner in compare.find_all(nodes.Name)):
                found += [c.value for c in compare.find_all(nodes.Const) if isinstance(c.value, str)]
        return list(dict.fromkeys(found))

    def literals(self) -> Iterator[str]:
        """Every text and key in the template."""
        for data in self.tree.find_all(nodes.TemplateData):
            yield data.data
        for constant in self.tree.find_all(nodes.Const):
            if isinstance(constant.value, str):
                yield constant.value
        for attribute in self.tree.find_all(nodes.Getattr):
            yield attribute.attr

    def keys(self, pattern: str) -> list[str]:
        """Identifiers in the template that match `pattern`."""
        words = (text for text in self.literals() if re.fullmatch(r"\w+", text))
        return list(dict.fromkeys(word for word in words if re.search(pattern, word)))


def user(text: str = USER) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str = TEXT, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def call(name: str, arguments: Any, number: int = 0) -> dict[str, Any]:
    return {"id": IDS[number], "type": "function", "function": {"name": name, "arguments": arguments}}


def result(text: str = RESULT, name: str = FIRST, number: int = 0) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": IDS[number], "name": name, "content": text}


def tool(name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """A function as the API declares it, with every field that some template asks for."""
    parameters = {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": "A.", "parameters": parameters}}


def _names(tree: nodes.Template) -> list[str]:
    """Variables that the template reads and may get from outside, in the order of their first mention."""
    stored = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    stored |= {macro.name for macro in tree.find_all(nodes.Macro)}
    stored -= set(_defaulted(tree))
    loaded = [name.name for name in tree.find_all(nodes.Name) if name.ctx == "load"]
    return list(dict.fromkeys(name for name in loaded if name not in stored | _USUAL))


def _defaulted(tree: nodes.Template) -> Iterator[str]:
    """Variables that the template sets only where the caller has not."""
    tested = {
        test.node.name
        for test in tree.find_all(nodes.Test)
        if test.name in {"defined", "undefined"} and isinstance(test.node, nodes.Name)
    }
    for assignment in tree.find_all(nodes.Assign):
        if isinstance(assignment.target, nodes.Name):
            name = assignment.target.name
            if name in tested or any(used.name == name for used in assignment.node.find_all(nodes.Name)):
                yield name
