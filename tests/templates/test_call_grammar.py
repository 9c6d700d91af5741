"""Whatever a model samples under the grammar of its own format is a call that parses and fits its schema."""

import json
from typing import Any

import pytest
from jsonschema import validate

from ossctl.dialect import Answer, Tool, ToolCall
from ossctl.engine.grammar import JsonGrammars
from ossctl.errors import RequestError
from ossctl.runtime.model import LlamaModel
from ossctl.templates.answer_parser import AnswerParser
from ossctl.templates.call_grammar import call_grammar
from ossctl.templates.derive import derive_format
from tests.support.chat_templates import CALLS
from tests.support.sampling import sampled

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 8},
        "unit": {"type": "string", "enum": ["C", "F"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
    },
    "required": ["city", "days"],
}
TOOLS = (Tool("get_weather", parameters=SCHEMA), Tool("now"))


@pytest.fixture(scope="module")
def grammars(smol: LlamaModel) -> JsonGrammars:
    return JsonGrammars(smol.vocab)


@pytest.mark.parametrize("kind", CALLS)
def test_sampled_calls_parse_and_fit_their_schemas(
    smol: LlamaModel, grammars: JsonGrammars, kind: str
) -> None:
    form = derive_format(CALLS[kind])
    assert form.calls is not None
    special = {smol.vocab.piece(token).decode(): token for token in smol.vocab.control_ids}
    grammar = call_grammar(form.calls, TOOLS, special)
    tools = {tool.name: tool.parameters for tool in TOOLS}
    for seed in range(4):
        tokens = sampled(smol.vocab, grammars.lark(grammar.text, grammar.schemas, "tools"), seed)
        parser = AnswerParser(form, tools, smol.vocab.piece, smol.vocab.control_ids)
        events = [event for token in tokens for event in parser.feed(token)] + list(parser.close(cut=False))
        written = b"".join(map(smol.vocab.piece, tokens))
        assert not [event for event in events if isinstance(event, Answer)], written
        calls = [event for event in events if isinstance(event, ToolCall)]
        assert calls, written
        for call in calls:
            validate(
                json.loads(call.arguments), SCHEMA if call.name == "get_weather" else {"maxProperties": 0}
            )


def test_only_one_call_is_possible_if_others_are_not_wanted(smol: LlamaModel, grammars: JsonGrammars) -> None:
    form = derive_format(CALLS["JSON in tags"]).calls
    assert form is not None
    one = call_grammar(form, TOOLS[1:], {}, parallel=False)
    grammar = grammars.lark(one.text, one.schemas, "tools")
    for token in smol.vocab.tokenize('<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'):
        assert not grammar.banned()[token]
        grammar.accept(token)
    assert grammar.finished


def test_a_schema_that_cannot_be_enforced_is_named(grammars: JsonGrammars) -> None:
    form = derive_format(CALLS["name outside"]).calls
    assert form is not None
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}
    grammar = call_grammar(form, [Tool("find", parameters=schema)], {})
    with pytest.raises(RequestError, match="tools: at /properties/a"):
        grammars.lark(grammar.text, grammar.schemas, "tools")
