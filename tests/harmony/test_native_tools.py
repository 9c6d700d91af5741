"""Python and the browser as gpt-oss was trained with them: prompts, parsing and guides."""

import json
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossctl.dialect import (
    Conversation,
    Event,
    JsonFormat,
    Message,
    Reasoning,
    Recovered,
    Tool,
    ToolCall,
    ToolChoice,
)
from ossctl.engine.grammar import JsonGrammars
from ossctl.guide import Guide
from ossctl.harmony.dialect import HarmonyDialect
from ossctl.harmony.native_tools import Recipients
from ossctl.harmony.parser import HarmonyParser
from tests.support.harmony_reference import (
    BROWSER,
    Reference,
    as_reference,
    assert_references_tokens,
    conversations,
    python_tool,
    returned,
    system,
    texts,
)
from tests.support.toy_harmony import TOY, choices, complaints, follow, forced, spelt, told

PYTHON = python_tool("Use this tool to execute Python code.\n\nIt is stateful.")
FUNCTION = Tool("get", "", {"type": "object", "properties": {"n": {"type": "integer"}}})
ALL = (FUNCTION, PYTHON, *BROWSER)
QUESTION = Message("user", "What is 2**0.5?")
CODE = "import math\nprint(math.sqrt(2))"
CALL = ToolCall("python", json.dumps({"code": CODE}))
CALLING = Message("assistant", "", "I compute it.", (CALL,))
RESULT = Message("tool", "1.4142", tool="python")
FINAL = Message("assistant", "1.4142.", "Done.")
NEXT = "<|start|>assistant"


# prompts


@given(conversations(native=True))
def test_random_conversations_with_native_tools_have_the_references_tokens(
    harmony: HarmonyDialect, reference: Reference, conversation: Conversation
) -> None:
    assert_references_tokens(harmony.render(conversation), conversation, reference)


def test_a_prompt_after_which_no_call_is_allowed_announces_the_tools_as_before() -> None:
    dialect = HarmonyDialect(TOY, TOY.markers, JsonGrammars(TOY))
    before = Conversation((QUESTION,), ALL)
    after = Conversation((QUESTION, CALLING, RESULT), ALL, ToolChoice("none"))
    opening = len(TOY.ids(NEXT))
    assert dialect.render(after)[: len(dialect.render(before)) - opening] == dialect.render(before)[:-opening]


@pytest.mark.parametrize("tools", [(PYTHON,), BROWSER, ALL, (PYTHON, FUNCTION)])
def test_native_tools_are_announced_in_the_system_message(
    tools: tuple[Tool, ...], harmony: HarmonyDialect, reference: Reference
) -> None:
    conversation = Conversation((QUESTION,), tools)
    assert harmony.render(conversation) == reference.prompt(as_reference(conversation))
    about = reference.text(reference.prompt([system(conversation)]))
    assert ("## python\n\nUse this tool" in about) == (PYTHON in tools)
    assert ("type search = (_: {\nquery: string," in about) == (BROWSER[0] in tools)


def test_a_browser_that_only_searches_is_announced_as_such(
    harmony: HarmonyDialect, reference: Reference
) -> None:
    text = reference.text(harmony.render(Conversation((QUESTION,), BROWSER[:1])))
    assert "type search" in text
    assert "type find" not in text


def test_a_python_call_is_plain_code_in_the_analysis(harmony: HarmonyDialect, reference: Reference) -> None:
    text = reference.text(harmony.render(Conversation((QUESTION, CALLING, RESULT), (PYTHON,))))
    assert text.endswith(
        f"<|start|>assistant<|channel|>analysis<|message|>I compute it.<|end|>"
        f"<|start|>assistant to=python<|channel|>analysis code<|message|>{CODE}<|call|>"
        "<|start|>python to=assistant<|channel|>analysis<|message|>1.4142<|end|><|start|>assistant"
    )


def test_a_call_that_has_no_code_is_rendered_as_it_is(harmony: HarmonyDialect, reference: Reference) -> None:
    for arguments in ("1 + 1", "[1]", '{"code": 1}'):
        calling = replace(CALLING, calls=(ToolCall("python", arguments),))
        text = reference.text(harmony.render(Conversation((QUESTION, calling), (PYTHON,))))
        assert f"code<|message|>{arguments}<|call|>" in text


def test_without_the_native_tool_its_name_is_a_functions(
    harmony: HarmonyDialect, reference: Reference
) -> None:
    text = reference.text(harmony.render(Conversation((QUESTION, CALLING, RESULT), (FUNCTION,))))
    assert "to=functions.python<|channel|>commentary <|constrain|>json<|message|>{" in text


def test_the_channel_of_a_result_is_that_of_its_call(harmony: HarmonyDialect, reference: Reference) -> None:
    for channel in ("analysis", "commentary"):
        kept = reference.written(f"<|channel|>{channel} to=python code<|message|>{CODE}<|call|>")
        calling = Message("assistant", "", calls=(CALL,), token_ids=tuple(kept))
        before = harmony.render(Conversation((QUESTION,), (PYTHON,)))
        assert harmony.render(Conversation((QUESTION, calling, RESULT), (PYTHON,))) == [
            *before,
            *kept,
            *reference.prompt([returned("python", RESULT.content, channel)]),
        ]


def test_a_finished_turn_drops_native_calls_with_its_reasoning(
    harmony: HarmonyDialect, reference: Reference
) -> None:
    """They are part of the chain of thought. The reference drops all of `analysis` as well."""
    turn = (QUESTION, CALLING, RESULT, FINAL, Message("user", "Thanks!"))
    conversation = Conversation(turn, (PYTHON,))
    messages = as_reference(conversation)
    prompt = harmony.render(conversation)
    assert prompt == reference.prompt(messages, drop=True)
    assert CODE not in reference.text(prompt)
    running = harmony.render(Conversation(turn[:3], (PYTHON,)))
    assert CODE in reference.text(running)
    assert CALLING.reasoning in reference.text(running)


def test_a_finished_turn_keeps_a_native_call_in_the_commentary_with_its_result(
    harmony: HarmonyDialect, reference: Reference
) -> None:
    kept = reference.written(f"<|channel|>commentary to=python code<|message|>{CODE}<|call|>")
    calling = Message("assistant", "", calls=(CALL,), token_ids=tuple(kept))
    text = reference.text(
        harmony.render(Conversation((QUESTION, calling, RESULT, FINAL, QUESTION), (PYTHON,)))
    )
    assert f"commentary to=python code<|message|>{CODE}<|call|>" in text
    assert "<|start|>python to=assistant<|channel|>commentary<|message|>1.4142<|end|>" in text


def test_a_call_of_a_function_in_the_analysis_is_answered_there_and_goes_to_the_commentary_in_later_turns(
    harmony: HarmonyDialect, reference: Reference
) -> None:
    kept = reference.written('<|channel|>analysis to=functions.get code<|message|>{"n":1}<|call|>')
    calling = Message("assistant", "", calls=(ToolCall("get", '{"n":1}'),), token_ids=tuple(kept))
    turn = (QUESTION, calling, Message("tool", "one", tool="get"))
    result = "<|start|>functions.get to=assistant<|channel|>analysis<|message|>one<|end|>"
    assert result in reference.text(harmony.render(Conversation(turn, ALL)))
    after = reference.text(harmony.render(Conversation((*turn, FINAL, QUESTION), ALL)))
    assert 'to=functions.get<|channel|>commentary <|constrain|>json<|message|>{"n":1}' in after
    assert result.replace("analysis", "commentary") in after


headers = st.sampled_from(
    [
        " to=python<|channel|>analysis code",
        "<|channel|>analysis to=python code",
        "<|channel|>commentary to=python code",
        "<|channel|>commentary to=python",
    ]
)


@given(st.lists(st.tuples(headers, texts, texts), min_size=1, max_size=3), texts)
def test_each_round_of_native_calls_continues_the_last_prompt_and_its_answer(
    harmony: HarmonyDialect, reference: Reference, rounds: list[tuple[str, str, str]], final: str
) -> None:
    conversation = Conversation((QUESTION,), ALL)
    for header, code, result in rounds:
        thought = reference.written("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant")
        kept = [*thought, *reference.written(f"{header}<|message|>"), *reference.encode(code)]
        kept += reference.written("<|call|>")
        before = [*harmony.render(conversation), *kept]
        events = parsed_by(harmony.parser([], conversation), kept)
        calls = tuple(event for event in events if isinstance(event, ToolCall))
        whole = not any(isinstance(event, Recovered) for event in events)
        answer = Message("assistant", "", "Hm.", calls, token_ids=tuple(kept))
        messages = (*conversation.messages, answer, Message("tool", result, tool="python"))
        conversation = replace(conversation, messages=messages)
        if whole:
            assert harmony.render(conversation)[: len(before)] == before
    messages = (*conversation.messages, Message("assistant", final))
    conversation = replace(conversation, messages=messages)
    prefix = harmony.render_prefix(conversation)
    following = replace(conversation, messages=(*messages, QUESTION))
    assert harmony.render(following)[: len(prefix)] == prefix


# parsing


def parsed_by(parser: HarmonyParser, ids: Sequence[int], *, cut: bool = False) -> list[Event]:
    return [*(event for token in ids for event in parser.feed(token)), *parser.close(cut=cut)]


def parsed(stream: str | Sequence[int], tools: Sequence[Tool] = ALL, *, cut: bool = False) -> list[Event]:
    parser = HarmonyParser(TOY.piece, TOY.markers, TOY.special_ids, Recipients.of(tools))
    return parsed_by(parser, TOY.ids(stream) if isinstance(stream, str) else stream, cut=cut)


def python(code: str) -> ToolCall:
    return ToolCall("python", json.dumps({"code": code}, separators=(",", ":"), ensure_ascii=False))


WELL_FORMED = {
    "<|channel|>analysis to=python code<|message|>print(1)<|call|>": python("print(1)"),
    " to=python<|channel|>analysis code<|message|>print(1)<|call|>": python("print(1)"),
    "<|channel|>analysis to=python<|message|>print(1)<|call|>": python("print(1)"),
    "<|channel|>analysis code to=python<|message|>print(1)<|call|>": python("print(1)"),
    "<|channel|>analysis to=python <|constrain|>code<|message|>print(1)<|call|>": python("print(1)"),
    "<|channel|>commentary to=python code<|message|>print(1)<|call|>": python("print(1)"),
    '<|channel|>analysis to=python code<|message|>print("é\n{}")\n<|call|>': python('print("é\n{}")\n'),
    "<|channel|>analysis to=python code<|message|>{'a': 1}<|call|>": python("{'a': 1}"),
    '<|channel|>analysis to=python code<|message|>{"a": 1}<|call|>': python('{"a": 1}'),
    "<|channel|>analysis to=python code<|message|>42<|call|>": python("42"),
    "<|channel|>analysis to=python code<|message|><|call|>": python(""),
    '<|channel|>analysis to=browser.search code<|message|>{"query":"x"}<|call|>': ToolCall(
        "browser_search", '{"query":"x"}'
    ),
    '<|channel|>commentary to=browser.open <|constrain|>json<|message|>{"id":1}<|call|>': ToolCall(
        "browser_open", '{"id":1}'
    ),
    "<|channel|>analysis to=browser.dance code<|message|>{}<|call|>": ToolCall("browser_dance", "{}"),
    '<|channel|>commentary to=functions.get <|constrain|>json<|message|>{"n":1}<|call|>': ToolCall(
        "get", '{"n":1}'
    ),
}


@pytest.mark.parametrize("stream", WELL_FORMED)
def test_native_calls_are_calls_of_functions(stream: str) -> None:
    assert parsed(stream) == [WELL_FORMED[stream]]


MALFORMED = {
    "<|channel|>commentary to=functions.python<|message|>print(1)<|call|>": "functions.python",
    "<|channel|>analysis to=python.exec code<|message|>print(1)<|call|>": "python.exec",
    "<|channel|>analysis to=python3 code<|message|>print(1)<|call|>": "python3",
    "<|channel|>analysis to=functions.python.run<|message|>print(1)<|call|>": "functions.python.run",
    "<|channel|>analysis to=python_exec<|message|>print(1)<|call|>": "python_exec",
    '<|channel|>analysis to=python code<|message|>{"code": "print(1)"}<|call|>': "more than its code",
    '<|channel|>analysis to=python json<|message|>{"cmd":"print(1)","t":1}<|call|>': "more than its code",
    "<|channel|>analysis to=python code<|message|>```python\nprint(1)\n```<|call|>": "more than its code",
    "<|channel|>analysis to=python <|constrain|>python<|message|>print(1)<|call|>": "unknown content type",
    "<|channel|>analysis python code<|message|>print(1)<|call|>": "",
    "<|channel|>analysis to=python<|channel|>commentary<|message|>print(1)<|call|>": "several channels",
    "<|channel|>comment to=python code<|message|>print(1)<|call|>": "unknown channel",
    "<|channel|>analysis to=python!<|message|>print(1)<|call|>": "stray text",
}


@pytest.mark.parametrize("stream", MALFORMED)
def test_a_malformed_python_call_is_understood_with_a_complaint(stream: str) -> None:
    events = parsed(stream)
    assert told(events) == [python("print(1)")]
    assert any(MALFORMED[stream] in what for what in complaints(events) or [""])


@pytest.mark.parametrize(
    "recipient", ["functions.browser.search", "browser_search", "functions.browser_search", "browser.search"]
)
def test_a_misspelt_browser_call_is_understood(recipient: str) -> None:
    events = parsed(f'<|channel|>analysis to={recipient} code<|message|>{{"query":"x"}}<|call|>')
    assert told(events) == [ToolCall("browser_search", '{"query":"x"}')]
    assert bool(complaints(events)) == (recipient != "browser.search")


def test_the_arguments_of_a_browser_call_that_are_no_json_are_passed_on_with_a_complaint() -> None:
    events = parsed("<|channel|>analysis to=browser.find code<|message|>hello<|call|>")
    assert told(events) == [ToolCall("browser_find", "hello")]
    assert "not valid JSON" in complaints(events)[0]


def test_a_bare_patch_is_the_argument_of_apply_patch() -> None:
    patch = "*** Begin Patch\n*** Delete File: a\n*** End Patch\n"
    for tools in (ALL, (Tool("apply_patch"),)):
        events = parsed(f"<|channel|>commentary to=functions.apply_patch<|message|>{patch}<|call|>", tools)
        (call,) = told(events)
        assert isinstance(call, ToolCall)
        assert json.loads(call.arguments) == {"patch": patch}
        assert "instead of JSON" in complaints(events)[0]


@pytest.mark.parametrize(("recipient", "name"), [("python code", "python"), ("browser.find", "browser_find")])
def test_a_native_call_that_was_cut_off_is_no_call(recipient: str, name: str) -> None:
    events = parsed(f"<|channel|>analysis to={recipient}<|message|>import shut", cut=True)
    assert complaints(events) == [f"the call of {name} was cut off"]
    assert told(events) == [Reasoning("import shut")]


def test_a_call_of_a_function_that_was_cut_off_is_marked() -> None:
    events = parsed("<|channel|>commentary to=functions.weather<|message|>", (Tool("weather"),), cut=True)
    assert told(events) == [ToolCall("weather", "", cut=True)]


def test_a_user_function_with_such_a_name_stays_a_function() -> None:
    ordinary = (Tool("python_eval"), PYTHON, Tool("browser_search"), *BROWSER[1:])
    for name in ("python_eval", "browser_search"):
        stream = f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{{}}<|call|>"
        assert parsed(stream, ordinary) == [ToolCall(name, "{}")]
    stream = "<|channel|>analysis to=python code<|message|>print(1)<|call|>"
    assert parsed(stream, (Tool("python"),)) == [ToolCall("python", "print(1)")]


@given(texts)
def test_code_comes_back_as_it_was_rendered(harmony: HarmonyDialect, reference: Reference, code: str) -> None:
    conversation = Conversation((QUESTION,), (PYTHON,))
    calling = replace(CALLING, calls=(ToolCall("python", json.dumps({"code": code})),))
    before = harmony.render(conversation)
    prompt = harmony.render(replace(conversation, messages=(QUESTION, calling)))
    answer = prompt[len(before) : -len(reference.written("<|start|>assistant"))]
    calls = [e for e in parsed_by(harmony.parser([], conversation), answer) if isinstance(e, ToolCall)]
    assert [json.loads(call.arguments)["code"] for call in calls] == [code]


PARTS = st.lists(
    st.sampled_from(
        [
            *("<|start|>assistant", "<|channel|>", "<|message|>", "<|call|>", "<|end|>", "<|constrain|>"),
            *("analysis", "commentary", " to=python", " to=browser.find", " to=functions.python", " code"),
            *(" json", "x = 1", '{"code": "x"}', '{"code": 1}', "```py\n1\n```", "{}", " ", "é", " python"),
        ]
    ),
    max_size=10,
).map("".join)


@given(PARTS, st.booleans())
def test_every_python_call_has_code_whatever_the_model_writes(stream: str, cut: bool) -> None:
    events = parsed(stream, cut=cut)
    calls = [event for event in events if isinstance(event, ToolCall)]
    codes = [json.loads(call.arguments)["code"] for call in calls if call.name == "python"]
    assert all(isinstance(code, str) for code in codes)


# guides

TOYS = HarmonyDialect(TOY, TOY.markers, JsonGrammars(TOY))
STRICT = tuple(replace(tool, strict=True) for tool in ALL)
TO_PYTHON = "<|channel|>analysis to=python code<|message|>"
TO_ANSWER = f"<|end|>{NEXT}<|channel|>final<|message|>"


def guide_of(*messages: Message, tools: tuple[Tool, ...] = ALL, **fields: Any) -> Guide:
    guide = TOYS.guide(Conversation((QUESTION, *messages), tools, **fields), ())
    assert guide is not None
    return guide


def named(name: str) -> ToolChoice:
    return ToolChoice("required", name)


def test_a_required_python_call_is_any_code_and_then_its_end() -> None:
    guide = guide_of(tools=STRICT, tool_choice=named("python"))
    follow(guide, "<|channel|>analysis")
    assert spelt(choices(guide)) == {"<|message|>", " "}  # it may reason first
    assert forced(follow(guide, " ")) == "to=python code<|message|>"
    assert choices(guide) == set(range(256))  # there is some code
    follow(guide, 'print("{}")\n')
    assert choices(guide) == set(range(256)) | {TOY.markers.call}
    follow(guide, "<|call|>")


def test_a_required_python_call_may_follow_the_reasoning() -> None:
    guide = follow(guide_of(tool_choice=named("python")), "<|channel|>analysis<|message|>Hm.<|end|>")
    assert forced(guide) == f"{NEXT}{TO_PYTHON}"


def test_a_required_browser_call_is_json_for_its_parameters() -> None:
    search = replace(
        BROWSER[0], parameters={"properties": {"query": {"type": "string"}}, "required": ["query"]}
    )
    guide = guide_of(tools=(search, *BROWSER[1:]), tool_choice=named("browser_search"))
    follow(guide, "<|channel|>analysis to=browser.search code<|message|>")
    assert forced(guide) == '{"query":"'


def test_any_required_call_may_be_a_native_one_or_a_functions() -> None:
    for header in (TO_PYTHON, "<|channel|>commentary to=functions.get <|constrain|>json<|message|>{"):
        follow(guide_of(tool_choice=ToolChoice("required")), header)


def test_an_answer_with_a_schema_may_call_python_before() -> None:
    follow(guide_of(json_format=JsonFormat({"type": "object"})), f"{TO_PYTHON}print(1)<|call|>")


@pytest.mark.parametrize(
    "header",
    [
        "<|channel|>analysis to=python code",
        "<|channel|>commentary to=python",
        " to=python<|channel|>analysis code",
        " to=browser.find<|channel|>analysis code",
        "<|channel|>analysis to=browser.open <|constrain|>json",
    ],
)
def test_native_tools_that_are_offered_may_be_called_and_no_others(header: str) -> None:
    follow(guide_of(), f"{header}<|message|>")
    for fields in ({"tools": (FUNCTION,)}, {"tool_choice": ToolChoice("none")}):
        with pytest.raises(AssertionError, match="after"):
            follow(guide_of(**fields), f"{header}<|message|>")


def test_code_is_free_even_in_a_strict_tool_and_never_json_by_its_header() -> None:
    guide = follow(guide_of(tools=STRICT), TO_PYTHON)
    for token in TOY.ids("x = [1"):
        assert choices(guide) == set(range(256)) | {TOY.markers.call}
        guide.accept(token)
    guide = follow(guide_of(), "<|channel|>analysis to=python")
    assert spelt(choices(guide)) == {"<|message|>", " "}
    assert spelt(choices(follow(guide, " "))) == {"c"}


def test_rounds_of_native_calls_share_the_reasoning_budget() -> None:
    earlier = replace(CALLING, reasoning="12345678")
    guide = follow(guide_of(earlier, RESULT, max_reasoning_tokens=10), "<|channel|>analysis<|message|>a")
    assert not guide.forced()
    assert forced(follow(guide, "b")) == TO_ANSWER
    spent = guide_of(earlier, RESULT, max_reasoning_tokens=8)
    assert forced(follow(spent, "<|channel|>analysis<|message|>")) == TO_ANSWER


def test_a_new_turn_and_a_function_of_the_user_begin_with_the_whole_budget() -> None:
    earlier = replace(CALLING, reasoning="12345678")
    function = replace(earlier, calls=(ToolCall("get", "{}"),))
    for messages in ((earlier, RESULT, FINAL, QUESTION), (function, replace(RESULT, tool="get"))):
        guide = guide_of(*messages, max_reasoning_tokens=9)
        follow(guide, "<|channel|>analysis<|message|>12345678")
        assert not guide.forced()


def test_code_in_a_call_spends_no_reasoning_budget() -> None:
    guide = follow(guide_of(max_reasoning_tokens=2), f"{TO_PYTHON}print(1)")
    assert not guide.forced()
    follow(guide, "<|call|>")


def test_whatever_is_chosen_native_calls_are_well_formed() -> None:
    rng, called = Random(3), set()
    for _ in range(60):
        guide = guide_of(tools=(PYTHON, *STRICT[2:]), max_reasoning_tokens=10)
        written: list[int] = []
        while not written or written[-1] not in TOYS.end_ids:
            possible = choices(guide)
            likely = possible & (TOY.special_ids | set(b'"}]0'))
            written.append(rng.choice(sorted(likely if likely and rng.random() < 0.3 else possible)))
            guide.accept(written[-1])
        events = parsed(written)
        assert not complaints(events), TOY.spelt(written)
        called |= {event.name for event in events if isinstance(event, ToolCall)}
    assert called == {"python", "browser_search", "browser_open", "browser_find"}
