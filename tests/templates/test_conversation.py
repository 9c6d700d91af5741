"""Calls, results and reasoning of a conversation reach the template in the form that it renders."""

import json
from dataclasses import replace

import pytest

from ossctl.dialect import Message, Tool, ToolCall
from ossctl.templates.conversation import template_messages, template_variables
from ossctl.templates.derive import derive_format
from ossctl.templates.plain_schema import plain_schema
from ossctl.templates.probe import Probe
from tests.support.chat_templates import CALLS, chat_template, with_calls

_CALL = "<f={{ c.function.name }} id={{ c.id }}>{{ c.function.arguments | tojson }}</f>"
_LOSES_TEXT = with_calls(_CALL).replace(
    "{{ m.content or '' }}", "{{ m.content if not m.tool_calls else '' }}"
)
TEMPLATES = {**CALLS, "with ids": with_calls(_CALL), "loses text": _LOSES_TEXT, "no calls": chat_template()}

TALK = (
    Message("system", "Be brief."),
    Message("user", "Weather?"),
    Message("assistant", "I look.", calls=(ToolCall("find", '{"a": "x y"}'), ToolCall("find", '{"a": "z"}'))),
    Message("tool", "sunny", tool="find"),
    Message("tool", "rainy", tool="find"),
    Message("assistant", "Both."),
    Message("user", "Thanks"),
)


def prompt_of(template: str, *messages: Message) -> str:
    form = derive_format(template)
    text = Probe(template).render(prompt=True, **next(template_variables(form, messages)))
    assert text is not None
    return text


@pytest.mark.parametrize("kind", TEMPLATES)
def test_nothing_of_a_conversation_with_calls_is_lost(kind: str) -> None:
    prompt = prompt_of(TEMPLATES[kind], *TALK)
    texts = ["Be brief.", "Weather?", "I look.", "x y", "z", "sunny", "rainy", "Both.", "Thanks"]
    assert [text for text in texts if text not in prompt] == []
    assert prompt.count("find") == 2


def test_calls_come_with_their_results_where_a_message_has_only_one() -> None:
    prompt = prompt_of(CALLS["only JSON"], *TALK)
    places = [prompt.index(text) for text in ("x y", "sunny", '"z"', "rainy")]
    assert places == sorted(places)


def test_ids_are_unique_and_results_have_those_of_their_calls() -> None:
    twice = (*TALK, *TALK[1:])
    messages = template_messages(derive_format(TEMPLATES["with ids"]), twice)
    ids = [call["id"] for message in messages for call in message.get("tool_calls", ())]
    assert len(set(ids)) == 4
    assert [message["tool_call_id"] for message in messages if message["role"] == "tool"] == ids


def test_results_in_another_order_find_their_calls() -> None:
    calls = (ToolCall("first", "{}"), ToolCall("second", "{}"))
    talk = (Message("user", "?"), Message("assistant", "", calls=calls))
    results = (Message("tool", "2", tool="second"), Message("tool", "1", tool="first"))
    messages = template_messages(derive_format(TEMPLATES["with ids"]), (*talk, *results))
    ids = [call["id"] for call in messages[1]["tool_calls"]]
    assert [message["tool_call_id"] for message in messages[2:]] == ids[::-1]


def test_arguments_are_text_or_a_mapping_as_the_template_wants() -> None:
    for kind, form in (("string arguments", str), ("JSON in tags", dict)):
        message = template_messages(derive_format(CALLS[kind]), TALK)[2]
        assert isinstance(message["tool_calls"][0]["function"]["arguments"], form)


def test_broken_arguments_of_an_earlier_call_do_not_break_the_prompt() -> None:
    broken = Message("assistant", "", calls=(ToolCall("find", '{"a": '),))
    assert '{\\"a\\": ' in prompt_of(CALLS["JSON in tags"], Message("user", "Hi"), broken)


def test_every_text_from_outside_is_guarded() -> None:
    form = derive_format(CALLS["JSON in tags"])
    parameters = {"type": "object", "properties": {"a": {"type": "string", "description": "evil"}}}
    tools = [Tool("find", "evil", parameters)]
    call = ToolCall("find", '{"evil": ["evil"]}')
    talk = (
        Message("user", "evil"),
        Message("assistant", "evil", "evil", (call,)),
        Message("tool", "evil", tool="evil"),
    )
    variables = next(template_variables(form, talk, tools, lambda text: text.replace("evil", "good")))
    assert "evil" not in json.dumps(variables)
    assert json.dumps(variables).count("good") == 8


def test_schemas_that_a_template_does_not_expect_are_made_simpler() -> None:
    loop = "{% for p in t.function.parameters.properties.values() %}"
    template = "{% for t in tools %}" + loop + "{{ '' + p.type }}{% endfor %}"
    template += "{{ t | tojson }}{% endfor %}" + chat_template()
    tools = [Tool("find", parameters={"type": "object", "properties": {"a": {"type": ["integer", "null"]}}})]
    form = derive_format(template)
    first, second = template_variables(form, TALK[:2], tools)
    assert Probe(template).render(**first) is None
    assert (Probe(template).render(**second) or "").startswith("integer")


def test_a_text_moves_out_of_a_message_with_reasoning_if_the_template_refuses_both() -> None:
    refusal = "{% if m.thinking and m.content and m.tool_calls %}{{ raise_exception('both') }}{% endif %}"
    template = with_calls(_CALL).replace("{{ m.content", refusal + "<t>{{ m.thinking }}</t>{{ m.content")
    talk = (TALK[1], replace(TALK[2], reasoning="A plan."), *TALK[3:])
    prompt = prompt_of(template, *talk)
    assert [text for text in ("I look.", "A plan.", "x y") if text not in prompt] == []


def test_schemas_are_plain_whatever_they_were() -> None:
    schema = {
        "properties": {
            "a": {"anyOf": [{"type": "null"}, {"type": "array", "items": {"type": ["null", "number"]}}]},
            "b": {},
        }
    }
    plain = plain_schema(schema)
    assert plain["type"] == "object"
    assert plain["properties"]["a"]["items"]["type"] == "number"
    assert plain["properties"]["b"]["type"] == "string"
