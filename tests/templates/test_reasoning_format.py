"""Where reasoning begins and ends, and what switches it, is learnt from the template alone."""

from typing import Any

import pytest

from ossctl.dialect import Conversation, Message
from ossctl.engine.grammar import JsonGrammars
from ossctl.runtime.model import LlamaModel
from ossctl.templates.derive import derive_format
from ossctl.templates.dialect import TemplateDialect
from ossctl.templates.reasoning_format import with_reasoning
from ossctl.templates.template_format import ReasoningFormat
from tests.support.chat_templates import chat_template

_HEAD = "{% for m in messages %}<|im_start|>{{ m.role }}\n"
_TAIL = "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
_FIELD = "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
_LAST = (
    "{% if m.reasoning_content and loop.last %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
)
_SWITCHED = _FIELD.replace("{% if m", "{% if (keep_thinking or loop.last) and m")
CLOSED = (
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def reasoning_of(template: str) -> ReasoningFormat:
    reasoning = derive_format(template).reasoning
    assert reasoning is not None
    return reasoning


def test_a_template_without_reasoning_has_none() -> None:
    assert derive_format(chat_template()).reasoning is None


def test_tags_field_and_switch_of_a_model_that_thinks_unless_it_is_switched_off() -> None:
    form = reasoning_of(_HEAD + _LAST + _TAIL + CLOSED)
    assert (form.start, form.end, form.place, form.key) == (
        "<think>",
        "</think>",
        "field",
        "reasoning_content",
    )
    assert (form.state, form.on, form.off) == ("outside", {}, {"enable_thinking": False})
    assert not form.kept
    assert reasoning_of(_HEAD + _FIELD + _TAIL + CLOSED).kept


@pytest.mark.parametrize(
    ("prompt", "state", "on", "off"),
    [
        ("<think>\n{% endif %}", "open", {}, None),
        (
            "{% if thinking %}<think>{% else %}</think>{% endif %}{% endif %}",
            "closed",
            {"thinking": True},
            {},
        ),
        ("{% if thinking %}<think>{% endif %}{% endif %}", "outside", {"thinking": True}, {}),
        (
            "{% if mode_of_thinking == 'off' %}</think>{% endif %}{% endif %}",
            "outside",
            {},
            {"mode_of_thinking": "off"},
        ),
    ],
)
def test_the_state_of_the_prompt_and_its_switches_are_found(
    prompt: str, state: str, on: Any, off: Any
) -> None:
    form = reasoning_of(_HEAD + _FIELD + _TAIL + prompt)
    assert (form.state, form.on, form.off) == (state, on, off)


def test_other_names_and_tags_are_found() -> None:
    thought = "<|channel|>analysis<|message|>{{ m.thinking }}<|end|><|start|>{{ m.role }}"
    turn = "{% if m.thinking %}" + thought + "{% endif %}"
    head = "{% for m in messages %}<|start|>{{ m.role }}"
    tail = (
        "{% if m.role == 'assistant' %}<|channel|>final{% endif %}<|message|>{{ m.content }}<|end|>"
        "{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    )
    form = derive_format(head + turn + tail)
    assert form.reasoning is not None
    assert (form.reasoning.key, form.reasoning.start) == ("thinking", "<|channel|>analysis<|message|>")
    assert form.reasoning.end.startswith("<|end|>")
    assert form.answer_start == "<|channel|>final<|message|>"


def test_reasoning_that_is_cut_from_the_content_is_found_by_its_tags() -> None:
    turns = _HEAD + _TAIL.replace("m.content", "m.content.split('</think>')[-1]")
    form = reasoning_of(turns + "<think>{% endif %}")
    assert (form.start, form.end, form.place, form.kept) == ("<think>", "</think>", "inline", False)


@pytest.mark.parametrize(
    ("template", "variables", "kept"),
    [
        (_HEAD + _FIELD + _TAIL + CLOSED, {}, ["I greet.", "I add."]),
        (_HEAD + _LAST + _TAIL + CLOSED, {}, []),
        (
            _HEAD + _TAIL.replace("m.content", "m.content.split('</think>')[-1]") + "<think>{% endif %}",
            {},
            [],
        ),
        (_HEAD + _SWITCHED + _TAIL + "{% endif %}", {}, []),
        (_HEAD + _SWITCHED + _TAIL + "{% endif %}", {"keep_thinking": True}, ["I greet.", "I add."]),
    ],
    ids=["kept", "dropped", "cut from the content", "unless switched on", "switched on"],
)
def test_earlier_reasoning_is_kept_or_dropped_as_the_template_does(
    smol: LlamaModel, template: str, variables: dict[str, Any], kept: list[str]
) -> None:
    dialect = TemplateDialect(template, smol.vocab, JsonGrammars(smol.vocab))
    turns = (Message("user", "Hi"), Message("assistant", "Hello.", "I greet."), Message("user", "1 + 1?"))
    chat = Conversation(
        (*turns, Message("assistant", "2", "I add."), Message("user", "Thanks.")),
        template_variables=variables,
    )
    prompt = b"".join(map(smol.vocab.piece, dialect.render(chat))).decode()
    assert [thought for thought in ("I greet.", "I add.") if thought in prompt] == kept
    assert all(message.content in prompt for message in chat.messages)
    if not variables:
        assert reasoning_of(template).kept == bool(kept)


def test_efforts_are_those_that_make_a_difference() -> None:
    refusal = "{% if reasoning_effort is defined and reasoning_effort not in ['low', 'high'] %}"
    effort = refusal + "{{ raise_exception('no') }}{% endif %}Effort: {{ reasoning_effort }}\n"
    form = reasoning_of(effort + _HEAD + _FIELD + _TAIL + "{% endif %}")
    assert (form.effort, form.efforts) == ("reasoning_effort", ("low", "high"))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("field", {"content": "b", "key": "a"}),
        ("inline", {"content": "<t>a</t>b"}),
        ("part", {"content": [{"type": "key", "key": "a"}, {"type": "text", "text": "b"}]}),
        (
            "blocks",
            {"content": {"blocks": [{"type": "key", "text": "a"}, {"type": "response", "text": "b"}]}},
        ),
    ],
)
def test_earlier_reasoning_is_handed_over_where_the_template_looks_for_it(place: Any, message: Any) -> None:
    assert with_reasoning(ReasoningFormat("<t>", "</t>", place, "key"), "a", {"content": "b"}) == message
