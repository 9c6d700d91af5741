"""Messages of a conversation in the form in which a template renders all of them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ossctl.dialect import Message, Tool, ToolCall
from ossctl.templates.chat_rules import arranged, declared
from ossctl.templates.plain_schema import plain_schema
from ossctl.templates.reasoning_format import with_reasoning
from ossctl.templates.template_format import CallFormat, TemplateFormat
from ossctl.templates.tools_note import with_tools_note

Guard = Callable[[str], str]

_NO_PARAMETERS = {"type": "object", "properties": {}}


def template_variables(
    form: TemplateFormat, messages: Sequence[Message], tools: Sequence[Tool] = (), guard: Guard = str
) -> Iterator[dict[str, Any]]:
    """The variables for a prompt; if the template fails on them, the next are to be tried.

    `guard` is applied to every text that comes from outside. Some templates fail on schemas that they do not
    expect, so simpler ones are the second choice.
    """
    written = template_messages(form, messages, tools, guard)
    for simple in (False, True) if tools and form.rules.tools else (False,):
        declarations = [_declaration(tool, guard, simple=simple) for tool in tools]
        yield {"messages": written, **declared(form.rules, declarations)}


def template_messages(
    form: TemplateFormat, messages: Sequence[Message], tools: Sequence[Tool] = (), guard: Guard = str
) -> list[dict[str, Any]]:
    """The template's variable `messages`, which declares functions if no other variable does."""
    written = list(_Writer(form, guard, messages).write())
    if tools and not form.rules.tools:
        functions = [_declaration(tool, guard, simple=False) for tool in tools]
        written = with_tools_note(written, functions, form.example)
    return arranged(written, form.rules)


def _declaration(tool: Tool, guard: Guard, *, simple: bool) -> dict[str, Any]:
    parameters: Mapping[str, Any] = {**_NO_PARAMETERS, **(tool.parameters or {})}
    function = {
        "name": tool.name,
        "description": guard(tool.description),
        "parameters": _guarded(plain_schema(parameters) if simple else parameters, guard),
    }
    return {"type": "function", "function": function}


class _Writer:
    """Writes messages, with ids that are unique in their conversation."""

    def __init__(self, form: TemplateFormat, guard: Guard, messages: Sequence[Message]) -> None:
        self._form = form
        self._guard = guard
        self._messages = messages
        reasoned = form.reasoning is not None and any(message.reasoning for message in messages)
        # An answer without reasoning has to look like the others.
        self._in_blocks = reasoned and form.reasoning is not None and form.reasoning.place == "blocks"
        self._last_id = 0
        self._open: list[tuple[str, str]] = []  # ids and names of calls without a result

    def write(self) -> Iterator[dict[str, Any]]:
        messages, position = self._messages, 0
        while position < len(messages):
            message = messages[position]
            position += 1
            if message.role == "tool":
                yield self._result(message)
            elif message.calls:
                end = position
                while end < len(messages) and messages[end].role == "tool":
                    end += 1
                yield from self._calling(message, messages[position:end])
                position = end
            else:
                entry = {"role": message.role, "content": self._guard(message.content)}
                yield self._with_reasoning(message, entry)

    def _calling(self, message: Message, results: Sequence[Message]) -> Iterator[dict[str, Any]]:
        """Calls and their results, one by one if the template shows only one call of a message."""
        calls = self._form.calls
        if calls is None:
            yield self._with_reasoning(message, {"role": "assistant", "content": self._as_text(message)})
            yield from map(self._result, results)
            return
        text = self._guard(message.content)
        form = self._form.reasoning
        beside = calls.message.with_content and not (message.reasoning and form and form.instead_of_text)
        if text and not beside:
            if not self._form.rules.alternate:  # or else the template has no place for it
                yield {"role": "assistant", "content": text}
            text = ""
        groups = [(call,) for call in message.calls] if calls.one_call else [message.calls]
        waiting = list(results)
        for number, group in enumerate(groups):
            entry = self._call(calls, group, text if number == 0 else "")
            yield self._with_reasoning(message, entry) if number == 0 else entry
            count = len(group) if calls.one_call else len(waiting)
            yield from map(self._result, waiting[:count])
            waiting = waiting[count:]
        yield from map(self._result, waiting)

    def _call(self, form: CallFormat, calls: Sequence[ToolCall], text: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"role": "assistant", "content": text}
        if not text and form.message.content != "":
            entry["content"] = None
            if form.message.content == "absent":
                del entry["content"]
        entry["tool_calls"] = [self._function(form, call) for call in calls]
        return entry

    def _function(self, form: CallFormat, call: ToolCall) -> dict[str, Any]:
        self._last_id += 1
        identity = f"call{self._last_id:05}"  # nine letters and digits, which every template takes
        self._open.append((identity, call.name))
        arguments: Any = _guarded(_decoded(call.arguments), self._guard)
        if form.message.arguments == "string":
            arguments = json.dumps(arguments, ensure_ascii=False)
        function = {"name": self._guard(call.name), "arguments": arguments}
        return {"id": identity, "type": "function", "function": function}

    def _result(self, message: Message) -> dict[str, Any]:
        """A result belongs to the first open call of its function."""
        named = (pair for pair in self._open if pair[1] == message.tool)
        pair = next(named, self._open[0] if self._open else (f"call{self._last_id:05}", message.tool))
        if pair in self._open:
            self._open.remove(pair)
        content = self._guard(message.content)
        if self._form.calls is None:
            return {"role": "user", "content": f"<tool_response>\n{content}\n</tool_response>"}
        name = self._guard(message.tool)
        return {"role": "tool", "tool_call_id": pair[0], "name": name, "content": content}

    def _as_text(self, message: Message) -> str:
        calls = [{"name": call.name, "arguments": _decoded(call.arguments)} for call in message.calls]
        texts = [self._guard(json.dumps(call, ensure_ascii=False)) for call in calls]
        written = [f"<tool_call>\n{text}\n</tool_call>" for text in texts]
        return "\n".join(filter(None, [self._guard(message.content), *written]))

    def _with_reasoning(self, message: Message, entry: dict[str, Any]) -> dict[str, Any]:
        form = self._form.reasoning
        if form is None or message.role != "assistant" or not (message.reasoning or self._in_blocks):
            return entry
        calls = self._form.calls
        if "tool_calls" in entry and calls and not calls.message.with_content and form.place != "field":
            return entry  # the template drops calls, or the content, where there are both
        return with_reasoning(form, self._guard(message.reasoning), entry)


def _decoded(arguments: str) -> Any:
    """Arguments as a mapping; broken ones, which a model may have written, under one name."""
    try:
        decoded = json.loads(arguments or "{}")
    except ValueError:
        return {"arguments": arguments}
    return decoded if isinstance(decoded, Mapping) else {"arguments": decoded}


def _guarded(value: Any, guard: Guard) -> Any:
    """`value` with `guard` applied to every text in it."""
    if isinstance(value, str):
        return guard(value)
    if isinstance(value, Mapping):
        return {guard(str(key)): _guarded(item, guard) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_guarded(item, guard) for item in value]
    return value
