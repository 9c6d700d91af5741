"""What is derived from known chat templates: `python -m tools.template_table FOLDER` writes the page of it.

FOLDER holds the sources of llama.cpp, whose `models/templates` has the templates of seventy models.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ossctl.dialect import Event, Message, Schema, Tool, ToolCall
from ossctl.templates.answer_parser import AnswerParser
from ossctl.templates.call_probe import Calls
from ossctl.templates.chat_rules import arranged, declared
from ossctl.templates.conversation import template_variables
from ossctl.templates.derive import derive_format
from ossctl.templates.probe import FIRST, SECOND, Probe
from ossctl.templates.template_format import CallFormat, ReasoningFormat, TemplateFormat

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "templates.md"

CHATS = (
    "user",
    "system user",
    "developer user assistant user",
    "user user assistant",
    "system user system user",
)
RICH = {
    "text": "He said \"hi\"\nüñí <b>&amp;</b> 'x' \\n",
    "n": 42,
    "f": -7.5,
    "yes": True,
    "no": None,
    "obj": {"a": {"b": [1, "two", False]}},
    "list": ["x", {"y": 1}],
    "digits": "42",
    "empty": "",
}
_TYPES = {"text": "string", "n": "integer", "f": "number", "yes": "boolean", "obj": "object", "list": "array"}
_PROPERTIES = {**_TYPES, "no": ["string", "null"], "digits": "string", "empty": "string"}
TOOLS: Mapping[str, Schema] = {
    FIRST: {"type": "object", "properties": {name: {"type": kind} for name, kind in _PROPERTIES.items()}},
    SECOND: {"type": "object", "properties": {"n": {"type": "integer"}}},
}
TALK = (
    Message("system", "Be brief."),
    Message("user", "How is it?"),
    Message(
        "assistant",
        "I look.",
        reasoning="Two calls.",
        calls=(ToolCall(FIRST, '{"text": "a call1"}'), ToolCall(SECOND, '{"n": 70701}')),
    ),
    Message("tool", "sunny", tool=FIRST),
    Message("tool", "rainy", tool=SECOND),
    Message("assistant", "Both."),
    Message("user", "Thanks."),
)
_NOTHING = "\u2013"
_LITERAL = re.compile(r'R"\((.*?)\)"|"((?:[^"\\]|\\.)*)"', re.DOTALL)
TURNS: Mapping[str, list[tuple[str, dict[str, Any]]]] = {
    "simple": [(FIRST, {"text": "hello", "n": 1})],
    "rich": [(FIRST, RICH)],
    "two": [(FIRST, {"text": "hello"}), (SECOND, {"n": 5})],
    "none": [(FIRST, {})],
}


@dataclass(frozen=True)
class Measured:
    """A template, and what it renders and which turns come back; None for those it cannot write."""

    name: str
    form: TemplateFormat
    chats: bool
    turns: Mapping[str, bool | None]


def measured(path: Path) -> Measured:
    """Derive the format of a template and try it on its own text."""
    source = path.read_text("utf-8")
    probe, form = Probe(source), derive_format(source)
    probe.given |= form.rules.always
    chats = all(_renders(probe, form, chat.split()) for chat in CHATS)
    return Measured(path.stem, form, chats, {name: _returns(probe, form, name) for name in TURNS})


def lost_texts(path: Path) -> list[str]:
    """Texts of a conversation with tools, calls, results and reasoning that a template does not show."""
    form, probe = derive_format(path.read_text("utf-8")), Probe(path.read_text("utf-8"))
    tools = (
        [Tool(name, f"Declared {name}.", schema) for name, schema in TOOLS.items()]
        if form.rules.tools
        else []
    )
    wanted = [tool.description for tool in tools]
    for message in TALK:
        wanted += [message.content, *(call.arguments[-5:-2] for call in message.calls)]
    choices = template_variables(form, TALK, tools)
    prompts = (probe.render(prompt=True, **variables) for variables in choices)
    prompt = next(filter(None, prompts), "")
    return [text for text in wanted if text not in prompt]


def _renders(probe: Probe, form: TemplateFormat, roles: list[str]) -> bool:
    messages = [{"role": role, "content": f"text{number}"} for number, role in enumerate(roles)]
    prompt = probe.render(arranged(messages, form.rules), prompt=True, **declared(form.rules, ()))
    return prompt is not None and all(message["content"] in prompt for message in messages)


def _returns(probe: Probe, form: TemplateFormat, name: str) -> bool | None:
    """Whether calls come back from the text that the template makes of them, letter by letter."""
    if form.calls is None or (form.calls.one_call and name == "two"):
        return None
    turns = (Calls(probe, form.rules, form.calls.message, answered) for answered in (False, True))
    text = next(filter(None, (calls.turn(*TURNS[name]) for calls in turns)), "")
    return calls_in(form, text, TOOLS) == TURNS[name]


def calls_in(form: TemplateFormat, text: str, tools: Mapping[str, Schema]) -> list[tuple[str, Any]]:
    """The calls of an answer. It starts inside of reasoning if it ends some that it has not started."""
    reasoning = form.reasoning or ReasoningFormat("<think>", "</think>", "inline", state="open")
    opened = "open" in {reasoning.state, *(switch.state for switch in reasoning.switches)}
    before, end, _ = text.partition(reasoning.end)
    thinking = bool(opened and end and reasoning.start not in before)
    parser = AnswerParser(form, tools, lambda token: text[token].encode(), frozenset(), thinking=thinking)
    events: list[Event] = [event for token in range(len(text)) for event in parser.feed(token)]
    events += parser.close(cut=False)
    return [(event.name, _decoded(event.arguments)) for event in events if isinstance(event, ToolCall)]


def _decoded(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:  # a broken call
        return arguments


def one_call_answers(folder: Path) -> Iterator[tuple[Path, str]]:
    """Templates and answers that llama.cpp's own tests expect to be one call, special_function(arg1=1)."""
    source = (folder / "tests" / "test-chat.cpp").read_text("utf-8")
    names = [(m.start(), m[1]) for m in re.finditer(r'"models/templates/([^"]+\.jinja)"', source)]
    test = re.compile(r"tst\.test\((.*?)\)\s*(\.\w+\((?:[^;]*?))\.run\(\)", re.DOTALL)
    for match in test.finditer(source):
        text, options = re.split(r"\)\s*(?=\.\w+\()", match[0].removeprefix("tst.test("), maxsplit=1)
        if _expects_one_call(options) and not _LITERAL.sub("", text).strip():
            known = [name for at, name in names if at < match.start()] or ["LFM2.5-8B-A1B.jinja"]
            yield folder / "models" / "templates" / known[-1], _literal(text)


def _expects_one_call(options: str) -> bool:
    kinds = "call|call_id|call_idx|call_thoughts|call_content|call_thoughts_content|thoughts_call_idx"
    one = r'\{\s*\{\s*"special_function",\s*R?"\(?\{\\?"arg1\\?": 1\}\)?",\s*(?:\{\}|"[^"]*")\s*\},?\s*\}'
    expected = rf"\.expect\(message_assist_(?:{kinds})\)|expect_tool_calls\({one}\)"
    return "is_partial" not in options and re.search(expected, options) is not None


def _literal(text: str) -> str:
    """The value of adjacent literals of C++."""
    return "".join(
        match[1] if match[1] is not None else json.loads(f'"{match[2]}"', strict=False)
        for match in _LITERAL.finditer(text)
    )


def table(rows: list[Measured]) -> str:
    """The table of the page."""
    lines = [
        "| template | calls | markers | in a turn | reasoning | switched off by | earlier reasoning |",
        "|" + "---|" * 7,
    ]
    for row in rows:
        cells = [row.name, *_call_cells(row.form.calls), *_reasoning_cells(row.form.reasoning)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _call_cells(form: CallFormat | None) -> list[str]:
    if form is None:
        return [_NOTHING, _NOTHING, _NOTHING]
    name = "JSON, name inside" if form.name_path or form.name_is_key else "JSON, name before it"
    kinds = {
        "tagged": "tagged one by one",
        "dialect": "JSON with bare keys",
        "python": "Python",
        "json": name,
    }
    markers = [form.section_start, form.call_start]
    if form.tagged:
        markers.append(form.tagged.key_start)
    kind = "array of " + kinds[form.kind] if form.array else kinds[form.kind]
    return [
        kind,
        " ".join(map(_code, filter(str.strip, markers))) or _NOTHING,
        "one" if form.one_call else "many",
    ]


def _reasoning_cells(form: ReasoningFormat | None) -> list[str]:
    if form is None:
        return [_NOTHING, _NOTHING, _NOTHING]
    off = ", ".join(f"{name}={json.dumps(value)}" for name, value in (form.off or {}).items())
    if form.off is None:
        off = _NOTHING
    return [
        f"{_code(form.start)} {_code(form.end)}",
        _code(off) if off not in {"", _NOTHING} else off or "off unless switched on",
        "kept" if form.kept else "dropped",
    ]


def _code(text: str) -> str:
    return "`" + text.strip().replace("\n", "⏎").replace("`", "'").replace("|", "¦") + "`"


def main(folder: Path) -> None:
    rows = [measured(path) for path in sorted((folder / "models" / "templates").glob("*.jinja"))]
    page = PAGE.read_text("utf-8")
    head, mark, _ = page.partition("<!-- table -->\n")
    PAGE.write_text(head + mark + table(rows), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
