"""Calls that an answer must, may or must not make, in the format of several families, with random weights."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from jsonschema import validate

from ossctl.dialect import (
    Answer,
    Conversation,
    Event,
    JsonFormat,
    Message,
    Reasoning,
    Tool,
    ToolCall,
    ToolChoice,
)
from ossctl.engine.grammar import JsonGrammars
from ossctl.errors import RequestError
from ossctl.guide import Guide
from ossctl.runtime.model import LlamaModel
from ossctl.templates.dialect import TemplateDialect
from tests.support.chat_templates import CALLS, FAMILIES

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 8}, "days": {"type": "integer", "maximum": 9}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS = (Tool("get_weather", parameters=SCHEMA, strict=True), Tool("now"))
ASKED = Conversation((Message("user", "Weather?"),), TOOLS)
REQUIRED = replace(ASKED, tool_choice=ToolChoice("required"))
CLOSINGS = (b"<", b'"', b"}", b"]", b",")


@pytest.fixture(scope="module")
def grammars(smol: LlamaModel) -> JsonGrammars:
    return JsonGrammars(smol.vocab)


def started(dialect: TemplateDialect, conversation: Conversation) -> Guide:
    guide = dialect.guide(conversation, dialect.render(conversation))
    assert guide is not None
    return guide


def feed(guide: Guide, tokens: Sequence[int]) -> None:
    for token in tokens:
        assert not is_banned(guide, token)
        guide.accept(token)


def is_banned(guide: Guide, token: int) -> bool:
    banned = guide.banned()
    if banned is None:
        return False
    return bool(banned[token]) if banned.dtype == np.bool_ else token in banned


def wander(model: LlamaModel, guide: Guide, seed: int) -> list[int]:
    """The rest of an answer that a model with random weights could sample, if it were in a hurry."""
    rng, tokens = np.random.default_rng(seed), list[int]()
    while len(tokens) < 300:
        forced = list(guide.forced())
        token = forced[0] if forced else chosen(model, guide, rng)
        if token in model.vocab.end_ids:
            return tokens
        guide.accept(token)
        tokens.append(token)
    raise AssertionError(b"".join(map(model.vocab.piece, tokens)))


def chosen(model: LlamaModel, guide: Guide, rng: np.random.Generator) -> int:
    banned = guide.banned()
    allowed = (
        np.arange(model.n_vocab) if banned is None else np.delete(np.arange(model.n_vocab), _ids(banned))
    )
    if model.vocab.end_id in allowed and banned is not None and rng.random() < 0.7:
        return model.vocab.end_id
    allowed = np.setdiff1d(allowed, sorted(model.vocab.end_ids)) if len(allowed) > 1 else allowed
    closing = [token for token in allowed if model.vocab.piece(int(token))[:1] in CLOSINGS]
    return int(rng.choice(closing if closing and rng.random() < 0.6 else allowed))


def _ids(banned: Any) -> Any:
    return banned.nonzero()[0] if banned.dtype == np.bool_ else banned


def events_of(
    model: LlamaModel, dialect: TemplateDialect, conversation: Conversation, tokens: Sequence[int]
) -> list[Event]:
    parser = dialect.parser(dialect.render(conversation), conversation)
    return [*(event for token in tokens for event in parser.feed(token)), *parser.close(cut=False)]


def calls_in(events: Sequence[Event]) -> list[ToolCall]:
    return [event for event in events if isinstance(event, ToolCall)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["", "get_weather"])
def test_a_required_call_is_always_made(
    smol: LlamaModel, grammars: JsonGrammars, family: str, name: str
) -> None:
    dialect = TemplateDialect(FAMILIES[family], smol.vocab, grammars)
    conversation = replace(ASKED, tool_choice=ToolChoice("required", name))
    if family != "Hermes":
        conversation = replace(conversation, max_reasoning_tokens=5)
    for seed in range(4):
        tokens = wander(smol, started(dialect, conversation), seed)
        events = events_of(smol, dialect, conversation, tokens)
        calls = calls_in(events)
        assert calls, events
        assert all(isinstance(event, ToolCall | Reasoning) for event in events), events
        for call in calls:
            assert name in ("", call.name)
            arguments = json.loads(call.arguments)
            validate(arguments, SCHEMA if call.name == "get_weather" else {"maxProperties": 0})


@pytest.mark.parametrize("family", ["Qwen3", "DeepSeek-V3.1"])
def test_reasoning_before_a_required_call_is_free_but_does_not_end_the_answer(
    smol: LlamaModel, grammars: JsonGrammars, family: str
) -> None:
    dialect = TemplateDialect(FAMILIES[family], smol.vocab, grammars)
    thinking = {"thinking": True} if family == "DeepSeek-V3.1" else {}
    conversation = replace(REQUIRED, template_variables=thinking)
    guide = started(dialect, conversation)
    opening = "" if thinking else "<think>"
    thought = smol.vocab.tokenize(opening + "I <tool_call> </thin a tool.</think>")
    for position, token in enumerate(thought):
        assert list(guide.forced()) in ([], [token])
        guide.accept(token)
        if len(opening) < position < len(thought) - 1:
            assert is_banned(guide, smol.vocab.end_id)
    events = events_of(smol, dialect, conversation, [*thought, *wander(smol, guide, 1)])
    reasoning = "".join(event.text for event in events if isinstance(event, Reasoning))
    assert reasoning == "I <tool_call> </thin a tool."
    assert calls_in(events)
    assert not [event for event in events if isinstance(event, Answer)]


@pytest.mark.parametrize("budget", [0, 3])
@pytest.mark.parametrize("thinking", [True, False])
def test_reasoning_is_closed_when_its_budget_is_spent(
    smol: LlamaModel, grammars: JsonGrammars, budget: int, thinking: bool
) -> None:
    family = "DeepSeek-V3.1" if thinking else "Qwen3"
    dialect = TemplateDialect(FAMILIES[family], smol.vocab, grammars)
    variables = {"thinking": True} if thinking else {}
    conversation = replace(ASKED, tools=(), max_reasoning_tokens=budget, template_variables=variables)
    guide = started(dialect, conversation)
    if not thinking:
        feed(guide, smol.vocab.tokenize("<think>"))
    for token in smol.vocab.tokenize(" one two three four")[:budget]:
        assert not guide.forced()
        guide.accept(token)
    closing = smol.vocab.tokenize("</think>")
    for position, token in enumerate(closing):
        assert list(guide.forced()) == closing[position:]
        guide.accept(token)
    assert not guide.forced()
    assert guide.banned() is None


def test_an_answer_without_reasoning_has_no_budget_to_spend(smol: LlamaModel, grammars: JsonGrammars) -> None:
    dialect = TemplateDialect(FAMILIES["Qwen3"], smol.vocab, grammars)
    guide = started(dialect, replace(ASKED, tools=(), max_reasoning_tokens=0))
    for token in smol.vocab.tokenize("Hello. <think>Hm."):
        assert not guide.forced()
        guide.accept(token)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_strict_function_is_held_where_a_call_starts(
    smol: LlamaModel, grammars: JsonGrammars, family: str
) -> None:
    dialect = TemplateDialect(FAMILIES[family], smol.vocab, grammars)
    guide = started(dialect, ASKED)
    marker = "<\uff5ctool▁calls▁begin\uff5c>" if family == "DeepSeek-V3.1" else "<tool_call>"
    opening = smol.vocab.tokenize(f"Let me {{see}} <b>. {marker}")
    feed(guide, opening)
    events = events_of(smol, dialect, ASKED, [*opening, *wander(smol, guide, 2)])
    assert "".join(event.text for event in events if isinstance(event, Answer)) == "Let me {see} <b>."
    (call, *_) = calls_in(events)
    validate(json.loads(call.arguments), SCHEMA if call.name == "get_weather" else {"maxProperties": 0})


def test_calls_of_functions_that_are_not_strict_are_free(smol: LlamaModel, grammars: JsonGrammars) -> None:
    dialect = TemplateDialect(FAMILIES["Hermes"], smol.vocab, grammars)
    conversation = replace(ASKED, tools=TOOLS[1:])
    assert dialect.guide(conversation, dialect.render(conversation)) is None


def test_no_call_starts_where_none_is_allowed(smol: LlamaModel, grammars: JsonGrammars) -> None:
    dialect = TemplateDialect(FAMILIES["Hermes"], smol.vocab, grammars)
    guide = started(dialect, replace(ASKED, tool_choice=ToolChoice("none")))
    *start, last = smol.vocab.tokenize("<tool_call>")
    feed(guide, [*smol.vocab.tokenize("Hello. > "), last, *start])
    assert is_banned(guide, last)


def test_an_answer_with_a_format_may_be_a_call_instead(smol: LlamaModel, grammars: JsonGrammars) -> None:
    dialect = TemplateDialect(FAMILIES["Hermes"], smol.vocab, grammars)
    conversation = replace(ASKED, json_format=JsonFormat({"enum": ["red", "blue"]}))
    for opening in ('"red"', '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'):
        guide = started(dialect, conversation)
        feed(guide, smol.vocab.tokenize(opening))
        assert not is_banned(guide, smol.vocab.end_id)
    assert is_banned(started(dialect, conversation), *smol.vocab.tokenize("Hello"))


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_a_function_whose_schema_cannot_be_enforced_is_named(
    smol: LlamaModel, grammars: JsonGrammars, mode: Any
) -> None:
    dialect = TemplateDialect(CALLS["name outside"], smol.vocab, grammars)
    broken = Tool("find", parameters={"properties": {"a": {"type": "colour"}}}, strict=True)
    with pytest.raises(RequestError, match=r"^tools: "):
        started(dialect, replace(ASKED, tools=(broken,), tool_choice=ToolChoice(mode)))
