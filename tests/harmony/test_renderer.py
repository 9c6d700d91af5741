"""Prompts in Harmony, token for token as OpenAI's renderer writes them."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ossctl.app.inference.request import GenerationSpec
from ossctl.dialect import (
    Answer,
    Conversation,
    Effort,
    JsonFormat,
    Message,
    Preamble,
    Tool,
    ToolCall,
    content_of,
)
from ossctl.engine.request import Sampling
from ossctl.errors import RequestError
from ossctl.harmony.dialect import HarmonyDialect
from ossctl.harmony.layout import HarmonyMessage, developer_text, lay_out, system_text
from ossctl.harmony.markers import Markers
from ossctl.harmony.renderer import Renderer
from ossctl.harmony.typescript import Namespace
from ossctl.runtime.model import LlamaModel
from tests.support.harmony_reference import (
    Reference,
    Written,
    answer_ids,
    as_reference,
    assert_references_tokens,
    builtin,
    called,
    conversations,
    developer,
    finished_answers,
    returned,
    system,
    tools,
    unfinished_answers,
    without_finished_analysis,
)

DAY = dt.date(2025, 6, 28)
QUESTION = Message("user", "What is 2 + 2?")
SIMPLE = Message("assistant", "2 + 2 = 4.", 'User asks: "What is 2 + 2?" Simple arithmetic. Provide answer.')
NEXT = Message("user", "What about 9 / 2?")
CALLING = Message("assistant", "", "Need to use get_weather.", (ToolCall("get_weather", '{"city":"SF"}'),))
RESULT = Message("tool", '{"sunny": true, "temperature": 20}', tool="get_weather")

VARIABLES: Any = {"enable_thinking": True, "builtin_tools": [], "model_identity": "You are Ada."}

FORMAT = {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"}
PLACE = {"type": "string", "description": "The city and state, e.g. San Francisco, CA"}
PLACES = {
    "type": "array",
    "items": {"type": "string"},
    "description": 'List of city and state, e.g. ["San Francisco, CA", "New York, NY"]',
}
KITCHEN_SINK = {
    "description": "params object",
    "type": "object",
    "properties": {
        "text": {"type": "string", "title": "TEXT", "description": "A text", "examples": ["hello", "world"]},
        "text_or_null": {"type": "string", "nullable": True, "description": "Or null", "default": "nothing"},
        "one_of_three": {"type": "string", "enum": ["a", "b", "c"]},
        "text_or_number": {
            "oneOf": [
                {"type": "string", "default": "a default of one"},
                {"type": "number", "description": "numbers can happen too"},
            ],
            "description": "one of two",
            "default": 20,
        },
    },
}
TOOLS = (
    Tool("get_location", "Gets the location of the user."),
    Tool(
        "get_current_weather",
        "Gets the current weather in the provided location.",
        {"type": "object", "properties": {"location": PLACE, "format": FORMAT}, "required": ["location"]},
    ),
    Tool(
        "get_multiple_weathers",
        "Gets the current weather in the provided list of locations.",
        {"type": "object", "properties": {"locations": PLACES, "format": FORMAT}, "required": ["locations"]},
    ),
)
SHOPPING: dict[str, Any] = {
    "properties": {
        "items": {"type": "array", "description": "entries on the shopping list", "items": {"type": "string"}}
    },
    "type": "object",
}

# The conversations of openai-harmony's documentation and of its tests.
DOCUMENTED = {
    "question": Conversation((QUESTION,)),
    "pirate": Conversation((Message("system", "Talk like a pirate!"), Message("user", "Arrr, how be you?"))),
    "finished turn": Conversation((QUESTION, SIMPLE, NEXT)),
    "weather": Conversation(
        (
            Message("developer", "Use a friendly tone."),
            Message("user", "What is the weather like in SF?"),
        ),
        TOOLS,
        effort="high",
        date=DAY,
    ),
    "weather, called": Conversation(
        (
            Message("developer", "Use a friendly tone."),
            Message("user", "What is the weather like in SF?"),
            CALLING,
            RESULT,
        ),
        TOOLS,
        effort="high",
        date=DAY,
    ),
    "every kind of parameter": Conversation(
        (Message("developer", "Always respond in riddles"), QUESTION),
        (*TOOLS, Tool("kitchensink", "A function with various complex schemas.", KITCHEN_SINK)),
        effort="high",
        date=DAY,
    ),
    "tools without instructions": Conversation((QUESTION,), TOOLS[1:2], date=DAY),
    "preamble": Conversation(
        (
            Message("user", "Make me a page."),
            Message(
                "assistant",
                "**Action plan**:\n1. Generate an HTML file\n2. Start the server\n---\nWill start now",
                "{long chain of thought}",
                (ToolCall("generate_file", '{"template": "basic_html", "path": "index.html"}'),),
            ),
        )
    ),
    "dates": Conversation((Message("user", "What is 42 * pi?"),), date=dt.date(2021, 1, 1)),
}


def spelled(harmony: HarmonyDialect, reference: Reference, conversation: Conversation) -> str:
    return reference.text(harmony.render(conversation))


def renderer_of(model: LlamaModel) -> Renderer:
    markers = Markers.of(model.vocab)
    assert markers is not None
    return Renderer(model.vocab, markers)


@pytest.mark.parametrize("conversation", DOCUMENTED.values(), ids=DOCUMENTED.keys())
def test_documented_conversations_have_the_references_tokens(
    conversation: Conversation, harmony: HarmonyDialect, reference: Reference
) -> None:
    messages = as_reference(conversation)
    assert harmony.render(conversation) == reference.prompt(messages, drop=True)


@pytest.mark.parametrize("effort", ["low", "medium", "high"])
@pytest.mark.parametrize("instructions", [(), (Message("system", "Answer like a robot."),)])
def test_efforts_have_the_references_tokens(
    effort: Effort, instructions: tuple[Message, ...], harmony: HarmonyDialect, reference: Reference
) -> None:
    conversation = Conversation((*instructions, QUESTION), effort=effort)
    assert harmony.render(conversation) == reference.prompt(as_reference(conversation))


@pytest.mark.parametrize("tools", [(), TOOLS])
@pytest.mark.parametrize("builtins", [(), ("browser",), ("python",), ("browser", "python")])
def test_the_built_in_tools_have_the_references_tokens(
    builtins: tuple[str, ...], tools: tuple[Tool, ...], o200k: LlamaModel, reference: Reference
) -> None:
    text = system_text("medium", DAY, tuple(map(builtin, builtins)), has_functions=bool(tools))
    messages = [system(Conversation((), date=DAY), *builtins), *([developer("", tools)] if tools else [])]
    expected = reference.prompt(messages)
    ours = renderer_of(o200k).prompt([HarmonyMessage("system", text)])
    opening = len(reference.written("<|start|>assistant"))
    assert ours[:-opening] == expected[: len(ours) - opening]


@pytest.mark.parametrize("content_type", ["<|constrain|>json", "<|constrain|> json", "<|constrain|>", "code"])
@pytest.mark.parametrize(
    ("recipient", "channel"),
    [("functions.get_weather", "commentary"), ("python", "analysis"), ("browser.search", "analysis")],
)
def test_calls_of_any_tool_with_any_content_type_have_the_references_tokens(
    recipient: str, channel: str, content_type: str, o200k: LlamaModel, reference: Reference
) -> None:
    text = '{"query": "weather"}'
    call = HarmonyMessage("assistant", text, channel, recipient, content_type)
    result = HarmonyMessage(recipient, "Sunny.", "commentary", recipient="assistant")
    expected = [
        called(recipient, text, channel).with_content_type(content_type),
        returned(recipient, "Sunny."),
    ]
    assert renderer_of(o200k).prompt([call, result]) == reference.prompt(expected)


@given(conversations())
def test_random_conversations_have_the_references_tokens(
    harmony: HarmonyDialect, reference: Reference, conversation: Conversation
) -> None:
    assert_references_tokens(harmony.render(conversation), conversation, reference)


@given(conversations(native=True))
def test_a_prompt_has_no_more_tokens_than_its_upper_bound(
    harmony: HarmonyDialect, conversation: Conversation
) -> None:
    most = GenerationSpec(conversation, 7, (), Sampling()).max_total_tokens
    assert most is not None
    assert len(harmony.render(conversation)) + 7 <= most


@given(tools)
@example(Tool("f", parameters={"type": "object", "properties": {"a": {"oneOf": [None, 1, {}]}, "b": None}}))
@example(Tool("f", parameters={"oneOf": [None, [], {"type": ["string", 3]}]}))
def test_random_schemas_have_the_references_tokens(
    harmony: HarmonyDialect, reference: Reference, tool: Tool
) -> None:
    conversation = Conversation((QUESTION,), (tool,))
    assert harmony.render(conversation) == reference.prompt(as_reference(conversation))


@pytest.mark.parametrize("text", ["हिन्दी भाषा में", "สวัสดีครับ", "ভাষা", "ESPAÑA"])
def test_marks_and_capitals_beyond_ascii_do_not_end_a_word(
    text: str, o200k: LlamaModel, reference: Reference
) -> None:
    assert o200k.vocab.tokenize(text) == reference.encode(text)


def test_an_unfinished_turn_drops_the_reasoning_of_earlier_turns(
    harmony: HarmonyDialect, reference: Reference
) -> None:
    """docs/format.md drops the reasoning of finished turns, but keeps it in the turn of a call.

    The reference drops nothing if the last assistant message is not final, so that all old reasoning
    returns with the first call of a new turn.
    """
    conversation = Conversation(
        (QUESTION, SIMPLE, Message("user", "And the weather in SF?"), CALLING, RESULT)
    )
    messages = as_reference(conversation)
    prompt = harmony.render(conversation)
    assert prompt == reference.prompt(without_finished_analysis(messages))
    assert SIMPLE.reasoning not in reference.text(prompt)
    assert CALLING.reasoning in reference.text(prompt)
    assert SIMPLE.reasoning in reference.text(reference.prompt(messages, drop=True))


def test_every_finished_turn_drops_its_reasoning(harmony: HarmonyDialect, reference: Reference) -> None:
    """docs/format.md drops the reasoning of every response that ended in a final message.

    The reference drops only what precedes the very first final message.
    """
    second = Message("assistant", "4.5", "Nine halves.")
    conversation = Conversation((QUESTION, SIMPLE, NEXT, second, Message("user", "Thanks!")))
    messages = as_reference(conversation)
    prompt = harmony.render(conversation)
    assert prompt == reference.prompt(without_finished_analysis(messages))
    assert second.reasoning not in reference.text(prompt)
    assert second.reasoning in reference.text(reference.prompt(messages, drop=True))


def test_a_response_format_ends_the_developer_message(harmony: HarmonyDialect, reference: Reference) -> None:
    """As docs/format.md has it; the reference has no response formats."""
    conversation = Conversation(
        (Message("developer", "You are a helpful shopping assistant"), QUESTION),
        json_format=JsonFormat(SHOPPING, "shopping_list", "What to buy.\nIn any order."),
    )
    assert (
        "<|start|>developer<|message|># Instructions\n\nYou are a helpful shopping assistant\n\n"
        "# Response Formats\n\n## shopping_list\n\n// What to buy.\n// In any order.\n"
        '{"properties":{"items":{"type":"array","description":"entries on the shopping list",'
        '"items":{"type":"string"}}},"type":"object"}<|end|><|start|>user'
    ) in spelled(harmony, reference, conversation)


def test_a_response_format_needs_neither_instructions_nor_a_description(
    harmony: HarmonyDialect, reference: Reference
) -> None:
    conversation = Conversation((QUESTION,), json_format=JsonFormat({"type": "object"}))
    section = '# Response Formats\n\n## json_object\n\n{"type":"object"}<|end|>'
    assert f"<|start|>developer<|message|>{section}" in spelled(harmony, reference, conversation)


def test_a_response_format_comes_after_the_tools(harmony: HarmonyDialect, reference: Reference) -> None:
    conversation = Conversation((QUESTION,), TOOLS, json_format=JsonFormat({"type": "object"}))
    text = spelled(harmony, reference, conversation)
    assert "} // namespace functions\n\n# Response Formats\n\n## json_object" in text


def rendered(harmony: HarmonyDialect, *messages: Message) -> list[int]:
    return harmony.render(Conversation((QUESTION, *messages)))


def test_a_finished_turn_keeps_the_exact_tokens_of_its_answer(
    harmony: HarmonyDialect, reference: Reference
) -> None:
    """They are still in the cache; other tokens for the same text would have to be computed."""
    final = [*reference.written("<|channel|>final<|message|>"), *reference.single_bytes("Four.")]
    assert reference.single_bytes("Four.") != reference.encode("Four.")
    thought = reference.written("<|channel|>analysis<|message|>Easy.<|end|><|start|>assistant")
    kept = (*thought, *final, *reference.written("<|return|>"))
    assert rendered(harmony, Message("assistant", "Four.", "Easy.", token_ids=kept), NEXT) == [
        *rendered(harmony),
        *final,
        *reference.written(f"<|end|><|start|>user<|message|>{NEXT.content}<|end|><|start|>assistant"),
    ]


def test_an_unfinished_turn_keeps_all_generated_tokens(harmony: HarmonyDialect, reference: Reference) -> None:
    """Even a recipient after the channel, which the reference would put before it."""
    kept = reference.written(
        "<|channel|>analysis<|message|>Need to use get_weather.<|end|><|start|>assistant"
        '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city":"SF"}<|call|>'
    )
    calling = Message("assistant", "", CALLING.reasoning, CALLING.calls, token_ids=tuple(kept))
    assert rendered(harmony, calling, RESULT) == [
        *rendered(harmony),
        *kept,
        *reference.prompt([returned("functions.get_weather", RESULT.content)]),
    ]


@given(unfinished_answers)
def test_a_prompt_continues_the_last_prompt_and_its_answer(
    harmony: HarmonyDialect, reference: Reference, answer: list[Written]
) -> None:
    kept = answer_ids(answer, reference)
    calling = Message("assistant", content_in(kept, harmony), calls=CALLING.calls, token_ids=tuple(kept))
    before = [*rendered(harmony), *kept]
    assert rendered(harmony, calling, RESULT)[: len(before)] == before


@given(finished_answers)
def test_a_finished_answer_keeps_all_but_its_analysis(
    harmony: HarmonyDialect, reference: Reference, answer: list[Written]
) -> None:
    written = list(answer)
    ended = [message for message in written if not message.header.startswith("<|channel|>analysis")]
    expected = [*answer_ids(ended, reference)[:-1], *reference.written("<|end|>")]
    kept = tuple(answer_ids(written, reference))
    before = [*rendered(harmony), *expected]
    answer_before = Message("assistant", content_in(kept, harmony), token_ids=kept)
    assert rendered(harmony, answer_before, NEXT)[: len(before)] == before


def content_in(kept: Sequence[int], harmony: HarmonyDialect) -> str:
    """The content of an answer with these ids."""
    parser = harmony.parser(())
    events = [event for token in kept for event in parser.feed(token)] + [*parser.close(cut=False)]
    preamble = (event.text for event in events if isinstance(event, Preamble))
    return content_of(preamble, (event.text for event in events if isinstance(event, Answer)))


@pytest.mark.parametrize("text", ["Four.", "Four. STO"])
def test_the_text_of_a_stop_string_is_in_the_tokens_alone(
    text: str, harmony: HarmonyDialect, reference: Reference
) -> None:
    final = reference.written(f"<|channel|>final<|message|>{text}")
    before = [*rendered(harmony), *final]
    kept = (*final, *reference.written("<|return|>"))
    assert rendered(harmony, Message("assistant", "Four.", token_ids=kept), NEXT)[: len(before)] == before


@pytest.mark.parametrize("foreign", ["its own", "none of this vocabulary"])
def test_an_answer_in_another_models_tokens_is_rendered_from_its_text(
    foreign: str, harmony: HarmonyDialect, reference: Reference
) -> None:
    kept = reference.written("<|channel|>final<|message|>Some other words.<|return|>")
    if foreign != "its own":
        kept[2] = 1_000_000
    answer = Message("assistant", "The text.", token_ids=tuple(kept))
    assert rendered(harmony, answer, NEXT) == rendered(harmony, Message("assistant", "The text."), NEXT)


def test_an_answer_that_was_cut_off_is_ended(harmony: HarmonyDialect, reference: Reference) -> None:
    kept = tuple(reference.written("<|channel|>final<|message|>2 + 2 ="))
    end = reference.written("<|end|>")
    before = [*rendered(harmony), *kept, *end]
    assert rendered(harmony, Message("assistant", "2 + 2 =", token_ids=kept), NEXT)[: len(before)] == before


@pytest.mark.parametrize(
    "header",
    [
        "final <|constrain|>json",
        "final json",
        "final<|constrain|>json",
    ],
)
def test_a_content_type_is_kept_with_its_answer(
    header: str, harmony: HarmonyDialect, reference: Reference
) -> None:
    kept = tuple(reference.written(f'<|channel|>{header}<|message|>{{"a":1}}'))
    before = [*rendered(harmony), *kept]
    answer = Message("assistant", '{"a":1}', token_ids=(*kept, *reference.written("<|return|>")))
    assert rendered(harmony, answer, NEXT)[: len(before)] == before


MALFORMED = {
    "no content": "<|channel|>final",
    "no channel": "<|message|>Kept.<|return|>",
    "an unknown channel": "<|channel|>finale<|message|>Kept.<|return|>",
    "two channels": "<|channel|>analysis<|channel|>final<|message|>Kept.<|return|>",
    "two contents": "<|channel|>final<|message|>Kept.<|message|>Twice.<|return|>",
    "content before the channel": "<|message|>Kept.<|channel|>final<|return|>",
    "a control token in the content": "<|channel|>final<|message|>Kept.<|endoftext|><|return|>",
    "another role": "<|channel|>analysis<|message|>Hm.<|end|><|start|>user<|message|>Kept.<|return|>",
    "text between messages": "<|channel|>analysis<|message|>Hm.<|end|>Kept.<|return|>",
    "text behind the end": "<|channel|>final<|message|>Kept.<|return|>Behind.",
    "two ends": "<|channel|>final<|message|>Kept.<|return|><|return|>",
    "a content type in the content": "<|channel|>final<|message|>Kept.<|constrain|>json<|return|>",
}


@pytest.mark.parametrize("kept", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_answer_is_rendered_from_its_text(
    kept: str, harmony: HarmonyDialect, reference: Reference
) -> None:
    answer = Message("assistant", "The text.", token_ids=tuple(reference.written(kept)))
    assert rendered(harmony, answer, NEXT) == rendered(harmony, Message("assistant", "The text."), NEXT)


MARKERS = ("start", "channel", "constrain", "message", "end", "call", "return")
FORGERIES = st.lists(
    st.sampled_from([f"<|{name}|>" for name in (*MARKERS, "endoftext", "startoftext", "reserved_200014")])
    | st.sampled_from(
        ["<|", "|>", "<", "|", ">", "<|start", "end|>", "assistant", "final", " to=f", " ", "\n"]
    ),
    min_size=1,
    max_size=6,
).map("".join)


def control_tokens(ids: Sequence[int], model: LlamaModel) -> str:
    return "".join(model.vocab.marker(token) for token in ids if token in model.vocab.special_ids)


def contents(ids: Sequence[int], model: LlamaModel) -> list[str]:
    """The tokens between each `<|message|>` and the next control token, as text."""
    message = model.vocab.id_of("<|message|>")
    found: list[list[int]] = []
    inside = False
    for token in ids:
        if token == message:
            found.append([])
        elif inside and token not in model.vocab.special_ids:
            found[-1].append(token)
        inside = token == message or (inside and token not in model.vocab.special_ids)
    return [b"".join(map(model.vocab.piece, tokens)).decode() for tokens in found]


@given(st.lists(FORGERIES, min_size=13, max_size=13))
def test_no_text_becomes_a_control_token_and_all_of_it_comes_back(
    harmony: HarmonyDialect, o200k: LlamaModel, forged: list[str]
) -> None:
    above, about, title, described, default, value, name, form, *said_by_others = forged
    user, thought, preamble, arguments, result = said_by_others
    schema = {
        "title": title,
        "description": described,
        "default": default,
        "examples": [value],
        "type": "string",
    }
    parameters = {"type": "object", "properties": {name: schema, "enum": {"type": "string", "enum": [value]}}}
    tools = (Tool("f", about, parameters),)
    json_format = JsonFormat({"title": title, "enum": [value]}, description=form)
    call = Message("assistant", preamble, thought, (ToolCall("f", arguments),))
    messages = (Message("system", above), Message("user", user), call, Message("tool", result, tool="f"))
    ids = harmony.render(Conversation(messages, tools, json_format=json_format))
    plain, in_a_channel = "<|start|><|message|><|end|>", "<|start|><|channel|><|message|><|end|>"
    called_as_json = "<|start|><|channel|><|constrain|><|message|><|call|>"
    assert control_tokens(ids, o200k) == (
        plain * 3 + in_a_channel * 2 + called_as_json + in_a_channel + "<|start|>"
    )
    sections = developer_text(above, (Namespace("functions", tools=tools),), json_format)
    assert contents(ids, o200k)[1:] == [sections, user, thought, preamble, arguments, result]


def test_no_text_of_a_special_token_becomes_one(o200k: LlamaModel) -> None:
    vocab = o200k.vocab
    spellings = [vocab.marker(token) for token in vocab.special_ids]
    assert len(spellings) == 1_090
    for text in ("".join(spellings), " ".join(spellings), *spellings):
        ids = vocab.tokenize(text)
        assert not vocab.special_ids.intersection(ids)
        assert b"".join(map(vocab.piece, ids)).decode() == text


def test_variables_of_the_template_mean_the_same_here_or_are_refused() -> None:
    (about, _) = lay_out(Conversation((QUESTION,), template_variables=VARIABLES), lambda *_: [])
    assert about.content == system_text("medium", identity="You are Ada.")
    for name, value in (("enable_thinking", False), ("builtin_tools", ["browser"]), ("custom", 1)):
        with pytest.raises(RequestError, match=f"^chat_template_kwargs.{name} is not supported: "):
            list(lay_out(Conversation((QUESTION,), template_variables={name: value}), lambda *_: []))
