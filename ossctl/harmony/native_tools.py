"""The tools that gpt-oss was trained with, Python and a browser: their announcement and their calls.

They are part of the chain of thought (docs/format.md of openai-harmony, "Built-in tools"): calls of `python`
are plain code, calls of `browser.search` and so on are JSON, both in the channel `analysis`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import msgspec

from ossctl.dialect import Event, Recovered, Tool, ToolCall
from ossctl.harmony.browser import BROWSER
from ossctl.harmony.typescript import Namespace

FUNCTIONS = "functions"
PYTHON = "python"
CODE = "code"  # the content type of native calls, as the models write them

_BROWSER_NAMES = f"{BROWSER.name}_"  # what names of the browser's functions start with
_PYTHONS = (PYTHON, "python3", "ipython")  # first words of recipients that mean it
_CODE_KEYS = ("code", "script", "source", "cmd", "command", "input")
_APPLY_PATCH, _PATCH_START = "apply_patch", "*** Begin Patch"  # which the models were trained to write bare
_FENCED = re.compile(r"\s*```(?:python|py)?[ \t]*\n(.*?)\n?```\s*", re.DOTALL)


def native_namespaces(tools: Iterable[Tool]) -> tuple[Namespace, ...]:
    """The announcement of the native ones among `tools`.

    The browser's texts are those that the models know, whatever the tools' own descriptions are.
    """
    native = [tool for tool in tools if tool.native is not None]
    names = [tool.name.removeprefix(_BROWSER_NAMES) for tool in native if tool.native == "browser"]
    python = tuple(Namespace(PYTHON, tool.description) for tool in native if tool.native == "python")
    known = tuple(tool for tool in BROWSER.tools if tool.name in names)
    return (replace(BROWSER, tools=known), *python) if known else python


@dataclass(frozen=True)
class Recipients:
    """The recipients of calls in a conversation, where native tools have their own.

    `functions` are the names of the ordinary functions beside native tools.
    """

    python: bool = False
    browser: bool = False
    functions: frozenset[str] = frozenset()

    @classmethod
    def of(cls, tools: Sequence[Tool]) -> Self:
        """The recipients for a conversation with these tools."""
        kinds = {tool.native for tool in tools} - {None}
        functions = frozenset(tool.name for tool in tools if tool.native is None) if kinds else frozenset()
        return cls("python" in kinds, "browser" in kinds, functions)

    def native(self, name: str) -> bool:
        """Whether a function is a native tool, or would be one of the browser if it existed."""
        if name == PYTHON:
            return self.python
        return self.browser and name.startswith(_BROWSER_NAMES) and name not in self.functions

    def of_call(self, name: str) -> str:
        """The recipient of calls of a function."""
        if not self.native(name):
            return f"{FUNCTIONS}.{name}"
        return name if name == PYTHON else name.replace("_", ".", 1)

    def function(self, recipient: str) -> str:
        """The name of the function that is meant by a recipient, which the model may have misspelt."""
        name = recipient.removeprefix(f"{FUNCTIONS}.")
        if name in self.functions:
            return name
        flat = name.replace(".", "_")
        if self.python and flat.partition("_")[0] in _PYTHONS:
            return PYTHON
        return flat if self.native(flat) else name

    def content(self, call: ToolCall) -> str:
        """A call's content: the code of a native Python call, and the arguments of any other."""
        if call.name != PYTHON or not self.python:
            return call.arguments
        code = _loaded(call.arguments).get("code")
        return code if isinstance(code, str) else call.arguments

    def call(self, recipient: str, content: str) -> list[Event]:
        """The call that a message is, with complaints if it is malformed."""
        name = self.function(recipient)
        events: list[Event] = []
        if self.native(name) and recipient != self.of_call(name):
            events.append(Recovered(f"a call to {recipient} instead of {self.of_call(name)}"))
        if name == PYTHON and self.python:
            code = _code_in(content)
            if code != content:
                events.append(Recovered("a call of python with more than its code"))
            return [*events, ToolCall(name, _dumped({"code": code}))]
        if self.native(name) or recipient.startswith(f"{FUNCTIONS}."):
            return [*events, *_function_call(name, content)]
        return [*events, ToolCall(name, content)]


ORDINARY = Recipients()


def _function_call(name: str, arguments: str) -> list[Event]:
    """The call of a function that takes JSON, with a complaint if it is not."""
    if name == _APPLY_PATCH and arguments.lstrip().startswith(_PATCH_START):
        patch = ToolCall(name, _dumped({"patch": arguments}))
        return [Recovered(f"a call of {name} with a patch instead of JSON"), patch]
    try:
        msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError) as error:
        complaint = Recovered(f"the arguments of {name} are not valid JSON: {error}")
        return [complaint, ToolCall(name, arguments)]
    return [ToolCall(name, arguments)]


def _code_in(content: str) -> str:
    """The code of a Python call, which may be in a code fence, or in JSON as for a function."""
    if fenced := _FENCED.fullmatch(content):
        return fenced[1]
    arguments = _loaded(content)
    codes = (code for key in _CODE_KEYS if isinstance(code := arguments.get(key), str))
    return next(codes, content)


def _dumped(arguments: Mapping[str, str]) -> str:
    return msgspec.json.encode(arguments).decode()


def _loaded(content: str) -> dict[str, object]:
    """A JSON object; empty if `content` is none."""
    try:
        return msgspec.json.decode(content, type=dict[str, object])
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return {}
