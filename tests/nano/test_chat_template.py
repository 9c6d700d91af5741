"""The chat template in nano's file, which other programs use, writes what the product writes."""

import itertools
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Template

import tools.nano
from ossctl.dialect import Message
from ossctl.templates.environment import TemplateRefusal, chat_environment
from tools.nano.corpus import Sample, samples
from tools.nano.packing import Packer
from tools.nano.tokenizer import NanoTokenizer
from tools.nano.vocabulary import vocabulary

TODAY = date(2026, 3, 14)
TEMPLATE = Path(tools.nano.__file__).with_name("chat_template.jinja")


@pytest.fixture(scope="module")
def tokenizer() -> NanoTokenizer:
    return vocabulary()


@pytest.fixture(scope="module")
def template() -> Template:
    return chat_environment().from_string(TEMPLATE.read_text("utf-8"))


def rendered(template: Template, sample: Sample) -> str:
    conversation = sample.conversation
    tools = [
        {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        for tool in conversation.tools
    ]
    return template.render(
        messages=[as_written(message) for message in conversation.messages],
        tools=[{"type": "function", "function": tool} for tool in tools],
        reasoning_effort=conversation.effort,
        add_generation_prompt=True,
        strftime_now=TODAY.strftime,
    )


def as_written(message: Message) -> dict[str, Any]:
    written: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning:
        written["reasoning_content"] = message.reasoning
    if message.calls:
        written["tool_calls"] = [
            {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.calls
        ]
    return written


def test_prompts_are_those_of_the_product(tokenizer: NanoTokenizer, template: Template) -> None:
    packer = Packer(tokenizer, 512, 0)
    compared = 0
    for sample in itertools.islice(samples(7, held_out=True), 400):
        if sample.conversation.json_format is None:  # the released template has no place for schemas
            assert rendered(template, sample) == tokenizer.decode(packer.prompt(sample, TODAY))
            compared += 1
    assert compared > 300


def test_a_role_that_has_no_place_is_refused(template: Template) -> None:
    with pytest.raises(TemplateRefusal, match="narrator"):
        template.render(messages=[{"role": "narrator", "content": "So."}], strftime_now=TODAY.strftime)


def test_arguments_may_be_an_object(template: Template) -> None:
    call = {"function": {"name": "look", "arguments": {"where": "up"}}}
    messages = [{"role": "user", "content": "Look."}, {"role": "assistant", "tool_calls": [call]}]
    text = template.render(messages=messages, strftime_now=TODAY.strftime)
    assert json.dumps(call["function"]["arguments"]) in text
