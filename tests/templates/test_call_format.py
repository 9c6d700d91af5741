"""How a model writes calls is learnt from its template alone, and calls in that format are read."""

import functools
import json
from typing import Any

import pytest

from ossctl.templates.call_format import derive_calls
from ossctl.templates.call_probe import Calls
from ossctl.templates.call_reader import CallReader
from ossctl.templates.chat_rules import derive_rules
from ossctl.templates.probe import Probe
from ossctl.templates.template_format import CallFormat
from tests.support.chat_templates import CALLS, chat_template, with_calls

TYPES = {"text": "string", "n": "integer", "f": "number", "yes": "boolean", "obj": "object", "list": "array"}
WEATHER = {"type": "object", "properties": {name: {"type": kind} for name, kind in TYPES.items()}}
TOOLS: dict[str, Any] = {"get_weather": WEATHER, "now": None}
RICH = {
    "text": "He said \"hi\"\nüñí <b>&amp;</b> 'x' \\n",
    "n": 42,
    "f": -7.5,
    "yes": True,
    "obj": {"a": {"b": [1, "two", False, None]}},
    "list": ["x", {"y": 1}],
}


@functools.cache
def derived(template: str) -> tuple[Probe, CallFormat]:
    probe = Probe(template)
    form = derive_calls(probe, derive_rules(probe))
    assert form is not None
    return probe, form


def written(template: str, *calls: tuple[str, dict[str, Any]], text: str = "") -> tuple[CallFormat, str]:
    probe, form = derived(template)
    turn = Calls(probe, derive_rules(probe), form.message).turn(*calls, text=text)
    assert turn is not None
    return form, turn.removesuffix("<|im_end|>\n")


def read(form: CallFormat, text: str) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in CallReader(form, TOOLS).read(text).calls]


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize(
    "arguments",
    [{"text": "hello"}, {}, RICH, {"text": "42"}, {"text": ""}],
    ids=["one", "none", "rich", "digits", "empty"],
)
def test_a_call_is_read_as_it_was_written(kind: str, arguments: dict[str, Any]) -> None:
    form, text = written(CALLS[kind], ("get_weather", arguments))
    assert read(form, text) == [("get_weather", arguments)]


@pytest.mark.parametrize("kind", [kind for kind in CALLS if kind != "only JSON"])
def test_calls_beside_each_other_and_beside_text_are_read(kind: str) -> None:
    first, last = {"text": "a"}, {"n": 1, "text": "b"}
    calls: list[tuple[str, dict[str, Any]]] = [("get_weather", first), ("now", {}), ("get_weather", last)]
    form, text = written(CALLS[kind], *calls, text="Let me see.")
    assert read(form, text) == calls
    assert CallReader(form, TOOLS).read(text).before == "Let me see."


@pytest.mark.parametrize("kind", CALLS)
def test_what_is_no_call_of_a_given_function_stays_text(kind: str) -> None:
    form, text = written(CALLS[kind], ("get_weather", {"text": "a"}))
    for other in (text.replace("get_weather", "rm_rf"), "Hello {world} [1, 2] <b>", text[: len(text) // 2]):
        found = CallReader(form, TOOLS).read(other)
        assert (found.before, found.calls, found.after) == (other, (), "")


def test_a_template_without_calls_has_no_format() -> None:
    probe = Probe(chat_template())
    assert derive_calls(probe, derive_rules(probe)) is None


def test_the_second_call_that_a_template_refuses_or_loses_means_one_call_a_turn() -> None:
    assert derived(CALLS["only JSON"])[1].one_call
    lost = with_calls(
        "{% if loop.first %}<f={{ c.function.name }}>{{ c.function.arguments | tojson }}</f>{% endif %}"
    )
    assert derived(lost)[1].one_call
    assert not derived(CALLS["JSON in tags"])[1].one_call


def test_ids_are_short_where_the_template_refuses_others() -> None:
    refusal = "{% if c.id | length != 9 %}{{ raise_exception('id') }}{% endif %}"
    call = refusal + "<f={{ c.function.name }}>{{ c.function.arguments | tojson }}</f>"
    assert derived(with_calls(call))[1].message.short_ids
    assert not derived(CALLS["JSON in tags"])[1].message.short_ids


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("tagged", "<function=get_weather>\n<parameter=n>\n1\n</parameter>\n</function>\n</tool_call>"),
        ("tagged", "<tool_call>\n<function=get_weather>\n<parameter=n>\n1\n</parameter>\n</function>"),
        ("tagged", "<tool_call><function=get_weather><parameter=n>1</parameter></function></tool_call>"),
        ("JSON in tags", '<tool_call>{"name": "get_weather", "arguments": {"n": 1}}'),
        ("JSON in tags", "<tool_call>\n{'name': 'get_weather', 'arguments': {'n': 1}}\n</tool_call>"),
        ("JSON in tags", '<tool_call>\n{"name": "get_weather", "arguments": "{\\"n\\": 1}"}\n</tool_call>'),
        ("name outside", '<call>functions.get_weather:7<args>{"n": 1}</call>'),
        ("JSON array", '[TOOL_CALLS]{"name": "get_weather", "arguments": {"n": 1}}'),
        (
            "typed",
            '<x:invoke name="get_weather"><x:parameter name="n" string="false">1</x:parameter></x:invoke>',
        ),
    ],
)
def test_habits_of_models_that_the_template_does_not_show_are_understood(kind: str, text: str) -> None:
    assert read(derived(CALLS[kind])[1], text) == [("get_weather", {"n": 1})]


@pytest.mark.parametrize("value", ["True", "true", " true\n"])
def test_values_may_be_spelled_as_in_python(value: str) -> None:
    text = (
        f"<tool_call>\n<function=get_weather>\n<parameter=yes>{value}</parameter>\n</function>\n</tool_call>"
    )
    assert read(derived(CALLS["tagged"])[1], text) == [("get_weather", {"yes": True})]


def test_a_value_may_contain_the_marker_that_ends_values() -> None:
    value = {"text": "a</arg_value>b <arg_key>"}
    form, text = written(CALLS["key and value"], ("get_weather", value))
    assert read(form, text) == [("get_weather", value)]


def test_where_keys_are_tags_objects_and_arrays_are_tags_again() -> None:
    form = derived(CALLS["key is the tag"])[1]
    obj = "<obj><a><b>1</b></a><c>true</c></obj>"
    items = "<list><item>x</item><item><item>7</item></item></list>"
    text = f'<tools>\n<invoke name="get_weather"><text><a>1</a></text>{obj}{items}</invoke>\n</tools>'
    arguments = {"text": "<a>1</a>", "obj": {"a": {"b": 1}, "c": True}, "list": ["x", [7]]}
    assert read(form, text) == [("get_weather", arguments)]
