"""Answers held to a schema, tools or a reasoning budget."""

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from ossctl.dialect import (
    Answer,
    Conversation,
    JsonFormat,
    Message,
    Preamble,
    Reasoning,
    Tool,
    ToolCall,
    ToolChoice,
)
from ossctl.engine.grammar import JsonGrammars
from ossctl.errors import RequestError
from ossctl.guide import Guide, TextFormat
from ossctl.harmony.dialect import HarmonyDialect
from tests.support.toy_harmony import (
    TOY,
    ToyVocabulary,
    choices,
    complaints,
    events_of,
    follow,
    forced,
    parsed,
    spelt,
    told,
)

NEXT = "<|start|>assistant"
TO_ANSWER = f"<|end|>{NEXT}<|channel|>final<|message|>"
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome", "Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}
GET, GET_WEATHER, NOW = Tool("get", "", SCHEMA), Tool("get_weather", "", CITY), Tool("now")
TOOLS = (GET, GET_WEATHER, NOW)
REQUIRED = ToolChoice("required")

# Names that share their start are tokenized differently from the first token on.
MERGED = ToyVocabulary(
    ("commentary", " to=functions.get", " to=functions.get_", "weather", "final", "assistant", '{"')
)

WHOLE_VOCABULARY = frozenset(range(TOY.size))


def dialect_of(vocabulary: ToyVocabulary) -> HarmonyDialect:
    return HarmonyDialect(vocabulary, vocabulary.markers, JsonGrammars(vocabulary))


DIALECTS = {"bytes": dialect_of(TOY), "words": dialect_of(MERGED)}
VOCABULARIES = {"bytes": TOY, "words": MERGED}


def guide_of(*, dialect: str = "bytes", **fields: Any) -> Guide:
    """The guide of a conversation with `schema`, `budget` or other fields of a Conversation."""
    if "schema" in fields:
        fields["json_format"] = JsonFormat(fields.pop("schema"))
    if "budget" in fields:
        fields["max_reasoning_tokens"] = fields.pop("budget")
    made = DIALECTS[dialect].guide(Conversation((Message("user", "hi"),), **fields), ())
    assert made is not None
    return made


# a choice, a regular expression or a grammar


def test_reasoning_is_free_before_an_answer_that_has_to_be_one_of_the_choices() -> None:
    guide = guide_of(text_format=TextFormat("choice", choices=("yes", "no")))
    follow(guide, "<|channel|>analysis<|message|>maybe?<|end|><|start|>assistant<|channel|>final<|message|>")
    assert spelt(choices(guide)) == {"y", "n"}
    assert forced(follow(guide, "y")) == "es<|return|>"
    assert forced(follow(guide_of(text_format=TextFormat("regex", "a+b")), "<|channel|>f")).startswith("inal")


# a budget alone


def test_without_a_schema_tools_or_a_budget_an_answer_is_free() -> None:
    assert DIALECTS["bytes"].guide(Conversation((Message("user", "hi"),)), ()) is None


@pytest.mark.parametrize("budget", [0, 1, 5, 100])
def test_a_spent_budget_opens_the_answer(budget: int) -> None:
    guide = follow(guide_of(budget=budget), "<|channel|>analysis<|message|>")
    for token in TOY.tokenize("x" * budget):
        assert not guide.forced()
        guide.accept(token)
    assert forced(guide) == TO_ANSWER
    assert choices(guide) == WHOLE_VOCABULARY
    follow(guide, "x" * 200 + "<|return|>")


def test_tokens_that_are_forced_can_be_taken_one_by_one() -> None:
    guide = follow(guide_of(budget=1), "<|channel|>analysis<|message|>x")
    whole = list(guide.forced())
    for position, token in enumerate(whole):
        assert list(guide.forced()) == whole[position:]
        guide.accept(token)
    assert not guide.forced()


def test_several_messages_of_reasoning_share_the_budget() -> None:
    guide = guide_of(budget=6)
    follow(guide, f"<|channel|>analysis<|message|>abc<|end|>{NEXT}<|channel|>analysis<|message|>de")
    assert not guide.forced()
    follow(guide, "f")
    assert forced(guide) == TO_ANSWER


def test_reasoning_after_the_budget_is_ended_at_once() -> None:
    guide = follow(guide_of(budget=1), "<|channel|>analysis<|message|>x")
    forced(guide)
    follow(guide, f"Well.<|end|>{NEXT}<|channel|>analysis<|message|>")
    assert forced(guide) == TO_ANSWER


def test_reasoning_that_ends_in_time_is_left_alone() -> None:
    stream = f"<|channel|>analysis<|message|>abc<|end|>{NEXT}<|channel|>final<|message|>{'x' * 50}<|return|>"
    assert_free(stream, budget=4)


@pytest.mark.parametrize(
    "stream",
    [
        f"<|channel|>final<|message|>{'analysis ' * 20}<|return|>",
        f"<|channel|>commentary<|message|>{'x' * 50}<|end|>{NEXT}<|channel|>final<|message|>x<|return|>",
        f"<|channel|>commentary to=functions.get <|constrain|>json<|message|>{'x' * 50}<|call|>",
        f" to=functions.analysis<|channel|>commentary<|message|>{'x' * 50}<|end|>{NEXT}",
        f"<|channel|>final<|message|>{'x' * 20}<|message|>{'x' * 20}<|return|>",
        f"analysis<|channel|>final<|message|>{'x' * 20}",
        f"<|channel|>analysis<|channel|>final<|message|>{'x' * 20}",
    ],
)
def test_text_that_is_not_reasoning_is_left_alone(stream: str) -> None:
    assert_free(stream, budget=0)


def assert_free(stream: str, *, budget: int) -> None:
    guide = guide_of(budget=budget)
    for token in TOY.ids(stream):
        assert choices(guide) == WHOLE_VOCABULARY
        guide.accept(token)


def test_a_call_before_the_reasoning_does_not_spend_its_budget() -> None:
    guide = guide_of(budget=2)
    follow(
        guide,
        f"<|channel|>commentary to=functions.get<|message|>{{}}<|end|>{NEXT}<|channel|>analysis<|message|>a",
    )
    assert not guide.forced()
    follow(guide, "b")
    assert forced(guide) == TO_ANSWER


def test_a_call_in_the_analysis_channel_is_left_alone() -> None:
    assert_free("<|channel|>analysis to=python code<|message|>print(1)<|call|>", budget=2)


@pytest.mark.parametrize(
    "opening",
    [
        "<|channel|>analysisanalysis<|message|>",
        "<|channel|>analysis<|constrain|>text<|message|>",
        "<|channel|>analysis Let me see what it is",
        "<|channel|>final<|message|>x<|end|><|start|>user<|message|>",
    ],
)
def test_the_budget_applies_to_what_the_parser_takes_for_reasoning(opening: str) -> None:
    text = "x" * 50
    assert any(isinstance(event, Reasoning) and text in event.text for event in parsed(opening + text))
    guide = guide_of(budget=10)
    for token in TOY.ids(opening + text):
        if guide.forced():
            return
        guide.accept(token)
    pytest.fail("the reasoning goes on")


# schemas and calls


def test_an_answer_with_a_schema_reasons_or_answers() -> None:
    guide = guide_of(schema=SCHEMA)
    assert forced(guide) == "<|channel|>"
    assert spelt(choices(guide)) == {"a", "f"}


def test_reasoning_is_free_but_for_control_tokens() -> None:
    guide = follow(guide_of(schema=SCHEMA), "<|channel|>analysis<|message|>")
    text = frozenset(range(256))
    for token in TOY.tokenize("x" * 300):
        assert choices(guide) == text | {TOY.markers.end}
        guide.accept(token)


def test_after_the_reasoning_comes_the_answer_and_its_end() -> None:
    guide = follow(guide_of(schema=SCHEMA), "<|channel|>analysis<|message|>Hm.<|end|>")
    assert forced(guide) == f'{NEXT}<|channel|>final<|message|>{{"n":'
    follow(guide, "12")
    assert spelt(choices(guide)) == {"}", *"0123456789"}
    follow(guide, "}")
    assert forced(guide) == "<|return|>"
    assert not guide.forced()


def test_an_answer_may_come_without_reasoning() -> None:
    guide = follow(guide_of(schema=SCHEMA), '<|channel|>final<|message|>{"n":-1}')
    assert forced(guide) == "<|return|>"


def test_a_text_that_could_continue_may_end_once_it_is_complete() -> None:
    guide = follow(guide_of(schema={"type": "integer"}), "<|channel|>final<|message|>")
    assert spelt(choices(guide)) == set("-0123456789")
    follow(guide, "-")
    assert spelt(choices(guide)) == set("0123456789")
    follow(guide, "1")
    assert spelt(choices(guide)) == {"<|return|>", *"0123456789"}
    follow(guide, "<|return|>")


def test_a_call_ends_with_its_own_token() -> None:
    number = {"properties": {"n": {"type": "integer"}}, "additionalProperties": False}
    guide = guide_of(tools=(Tool("get", "", number),), tool_choice=REQUIRED)
    follow(guide, "<|channel|>commentary to=functions.get <|constrain|>json<|message|>")
    assert spelt(choices(guide)) == {"{"}  # the arguments are an object, without the schema saying so
    follow(guide, "{}")
    assert forced(guide) == "<|call|>"


@pytest.mark.parametrize("budget", [0, 1, 7])
@pytest.mark.parametrize("fields", [{"schema": SCHEMA}, {"tools": (NOW,), "tool_choice": REQUIRED}])
def test_a_spent_budget_ends_the_reasoning(budget: int, fields: dict[str, Any]) -> None:
    guide = follow(guide_of(budget=budget, **fields), "<|channel|>analysis<|message|>")
    for token in TOY.tokenize("x" * budget):
        assert not guide.forced()
        guide.accept(token)
    assert forced(guide).startswith(f"<|end|>{NEXT}<|channel|>")


def headers(vocabulary: ToyVocabulary, made_by: Any, before: str = "") -> set[str]:
    """Every header that is allowed, by trying all choices."""
    found, paths = set(), [vocabulary.ids(before)]
    while paths:
        path = paths.pop()
        guide: Guide = made_by()
        for token in path:
            guide.accept(token)
        for token in choices(guide, vocabulary):
            if token == vocabulary.markers.message:
                found.add(vocabulary.spelt(path).removeprefix(before))
            else:
                paths.append([*path, token])
    return found


CALL_HEADERS = {
    name: f"<|channel|>commentary to=functions.{name} <|constrain|>json"
    for name in ("get", "get_weather", "now")
}
EVERY_CALL = set(CALL_HEADERS.values())
ANALYSIS, FINAL = "<|channel|>analysis", "<|channel|>final"


@pytest.mark.parametrize("dialect", ["bytes", "words"])
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"schema": SCHEMA}, {FINAL}),
        ({"schema": SCHEMA, "tools": TOOLS}, {FINAL, *EVERY_CALL}),
        ({"schema": SCHEMA, "tools": TOOLS, "tool_choice": ToolChoice("none")}, {FINAL}),
        ({"schema": SCHEMA, "tools": TOOLS, "tool_choice": REQUIRED}, EVERY_CALL),
        ({"tools": TOOLS, "tool_choice": REQUIRED}, EVERY_CALL),
        ({"tools": TOOLS, "tool_choice": ToolChoice("required", "get")}, {CALL_HEADERS["get"]}),
        (
            {"tools": TOOLS, "tool_choice": ToolChoice("required", "get_weather")},
            {CALL_HEADERS["get_weather"]},
        ),
    ],
    ids=["schema", "schema and tools", "none", "schema, required", "required", "get", "get_weather"],
)
def test_only_the_requested_headers_are_allowed(
    dialect: str, fields: dict[str, Any], expected: set[str]
) -> None:
    def made() -> Guide:
        return guide_of(dialect=dialect, **fields)

    vocabulary = VOCABULARIES[dialect]
    assert headers(vocabulary, made) == {ANALYSIS, *expected}
    reasoned = f"{ANALYSIS}<|message|>Hm.<|end|>{NEXT}"
    assert headers(vocabulary, made, reasoned) == expected  # it reasons once


@pytest.mark.parametrize("dialect", ["bytes", "words"])
@pytest.mark.parametrize(
    ("name", "arguments"), [("get", '{"n":5}'), ("get_weather", '{"city":"Oslo"}'), ("now", "{}")]
)
def test_a_call_is_held_to_the_parameters_of_its_own_function(
    dialect: str, name: str, arguments: str
) -> None:
    vocabulary = VOCABULARIES[dialect]
    guide = guide_of(dialect=dialect, tools=TOOLS, tool_choice=REQUIRED)
    header = f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>"
    follow(guide, header, vocabulary)
    written = forced(guide, vocabulary)
    assert arguments.startswith(written.removesuffix("<|call|>"))
    for token in vocabulary.ids(f"{arguments}<|call|>".removeprefix(written)):
        assert token in choices(guide, vocabulary)
        guide.accept(token)


@pytest.mark.parametrize(
    "fields", [{"schema": {"type": "string"}}, {"tools": (GET,), "tool_choice": REQUIRED}]
)
def test_content_with_a_schema_has_no_control_token_but_its_end(fields: dict[str, Any]) -> None:
    rng, guide = Random(5), guide_of(budget=0, **fields)
    end = TOY.markers.call if "tools" in fields else TOY.markers.done
    written: list[int] = []
    while written[-1:] != [end] and len(written) < 500:
        possible = choices(guide)
        if TOY.markers.message in written and TOY.spelt(written).rpartition("<|channel|>")[2][0] in "fc":
            assert not (possible & TOY.special_ids) - {end, TOY.markers.message}
        token = rng.choice(sorted(possible))
        written.append(token)
        guide.accept(token)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"schema": {"type": "nothing"}}, r"response_format\.json_schema\.schema"),
        (
            {"tools": (NOW, Tool("bad", "", {"not": {}})), "tool_choice": REQUIRED},
            r"tools\[1\]\.function\.parameters",
        ),
    ],
)
def test_an_unenforceable_schema_is_refused_naming_its_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestError, match=f"^{field}: "):
        guide_of(**fields)


def test_guides_of_one_conversation_are_independent() -> None:
    first, second = (guide_of(schema=SCHEMA, budget=5) for _ in range(2))
    follow(first, '<|channel|>final<|message|>{"n":1}<|return|>')
    follow(
        second,
        f'<|channel|>analysis<|message|>abcde<|end|>{NEXT}<|channel|>final<|message|>{{"n":2}}<|return|>',
    )


def walks(seed: int, **fields: Any) -> Iterator[list[int]]:
    """Random answers within what the guide allows, with structural tokens more often."""
    rng = Random(seed)
    for _ in range(60):
        guide = guide_of(**fields)
        written: list[int] = []
        while not written or written[-1] not in DIALECTS["bytes"].end_ids:
            possible = choices(guide)
            likely = possible & (TOY.special_ids | set(b'"}]0'))
            token = rng.choice(sorted(likely if likely and rng.random() < 0.3 else possible))
            written.append(token)
            guide.accept(token)
        yield written


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_is_chosen_the_answer_is_well_formed_and_fits(seed: int) -> None:
    seen = set()
    for ids in walks(seed, schema=SCHEMA, tools=TOOLS, budget=30):
        events = events_of(ids)
        assert not complaints(events), TOY.spelt(ids)
        *reasoning, last = told(events)
        assert all(isinstance(event, Reasoning) for event in reasoning), TOY.spelt(ids)
        assert len(reasoning) <= 1
        assert not isinstance(last, Preamble)
        if isinstance(last, ToolCall):
            arguments = json.loads(last.arguments)
            expected = {"get": {"n"}, "get_weather": {"city"}, "now": set()}
            assert set(arguments) == expected[last.name]
            seen.add(last.name)
        else:
            assert isinstance(last, Answer)
            assert isinstance(json.loads(last.text)["n"], int)
            seen.add("answer")
    assert seen == {"answer", "get", "get_weather", "now"}


# tools that may be called


CONTENT_TYPES = ["", " ", " json", " code"]
CONTENT_TYPES += [f"{blank}<|constrain|>{json}" for blank in ("", " ") for json in ("json", " json")]
OFFERED = {
    f"{before}<|channel|>{channel}{after}{content_type}"
    for to in (" to=functions.get", " to=functions.get_weather", " to=functions.now")
    for before, after in ((to, ""), ("", to))
    for channel in ("analysis", "commentary")
    for content_type in CONTENT_TYPES
}
TEXT = {"<|channel|>analysis", "<|channel|>commentary", "<|channel|>final"}


@pytest.mark.parametrize("dialect", ["bytes", "words"])
@pytest.mark.parametrize("before", ["", f"<|channel|>analysis<|message|>Hm.<|end|>{NEXT}"])
@pytest.mark.parametrize(
    ("choice", "expected"), [(ToolChoice(), {*TEXT, *OFFERED}), (ToolChoice("none"), TEXT)]
)
def test_only_functions_that_are_offered_can_be_called(
    dialect: str, before: str, choice: ToolChoice, expected: set[str]
) -> None:
    def made() -> Guide:
        return guide_of(dialect=dialect, tools=TOOLS, tool_choice=choice)

    assert headers(VOCABULARIES[dialect], made, before) == expected


def test_with_tools_an_answer_may_reason_speak_and_reason_again_before_it_calls() -> None:
    follow(
        guide_of(tools=TOOLS),
        f"<|channel|>analysis<|message|>Hm.<|end|>{NEXT}<|channel|>commentary<|message|>Well:<|end|>{NEXT}"
        f"<|channel|>analysis<|message|>So.<|end|>{NEXT}"
        '<|channel|>commentary to=functions.get <|constrain|>json<|message|>{"any": thing',
    )


@pytest.mark.parametrize(
    ("header", "ends"),
    [
        ("<|channel|>analysis", {"<|end|>"}),
        ("<|channel|>commentary", {"<|end|>", "<|return|>"}),
        ("<|channel|>final", {"<|return|>"}),
        ("<|channel|>commentary to=functions.get <|constrain|>json", {"<|call|>"}),
    ],
)
def test_with_tools_text_is_free_and_ends_as_its_channel_does(header: str, ends: set[str]) -> None:
    guide = follow(guide_of(tools=TOOLS), f"{header}<|message|>")
    for token in TOY.ids("as it pleases"):
        assert choices(guide) == set(range(256)) | {TOY.ids(end)[0] for end in ends}
        guide.accept(token)


def test_the_arguments_of_a_strict_function_fit_its_schema_whoever_chooses_the_call() -> None:
    strict = Tool("get", "", SCHEMA, strict=True)
    for header in (
        "<|channel|>commentary to=functions.get <|constrain|>json<|message|>",
        " to=functions.get<|channel|>commentary<|message|>",
    ):
        guide = follow(guide_of(tools=(strict, GET_WEATHER)), header)
        assert forced(guide) == '{"n":'
        follow(guide, "12}")
        assert forced(guide) == "<|call|>"
    free = follow(
        guide_of(tools=(strict, GET_WEATHER)), " to=functions.get_weather<|channel|>commentary json"
    )
    follow(free, '<|message|>{"m":"anything"}<|call|>')


def test_an_unenforceable_schema_of_a_strict_function_is_refused() -> None:
    with pytest.raises(RequestError, match=r"^tools\[1\]\.function\.parameters: "):
        guide_of(tools=(NOW, Tool("bad", "", {"not": {}}, strict=True)))
    guide_of(tools=(NOW, Tool("bad", "", {"not": {}})))


def test_a_spent_budget_opens_the_answer_when_there_are_tools() -> None:
    guide = follow(guide_of(tools=TOOLS, budget=2), "<|channel|>analysis<|message|>ab")
    assert forced(guide) == TO_ANSWER
    follow(guide, "As it pleases<|return|>")


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_is_chosen_only_offered_functions_are_called(seed: int) -> None:
    called = set()
    for ids in walks(seed, tools=(Tool("get", "", SCHEMA, strict=True), NOW), budget=30):
        events = events_of(ids)
        assert not [what for what in complaints(events) if "not valid JSON" not in what], TOY.spelt(ids)
        for event in events:
            if isinstance(event, ToolCall):
                called.add(event.name)
                if event.name == "get":
                    assert isinstance(json.loads(event.arguments)["n"], int)
    assert called == {"get", "now"}
