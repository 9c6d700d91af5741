"""Fields that change no answer are accepted, and others are refused with a reason or a suggestion."""

import pytest

from ossctl.app.wire.body_fields import known_fields
from ossctl.app.wire.chat_completions import Body
from ossctl.app.wire.usual_form import usual_form
from ossctl.errors import RequestError

SUPPORTED = (
    "max_tokens",
    "temperature",
    "top_k",
    "seed",
    "stop",
    "tools",
    "prompt",
    "logprobs",
    "top_logprobs",
)


def refusal(name: str, value: object) -> str:
    with pytest.raises(RequestError) as refused:
        known_fields({name: value}, SUPPORTED, "body.")
    return refused.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("metadata", {"doc": "7"}),
        ("user", "u-1"),
        ("store", True),
        ("service_tier", "flex"),
        ("safety_identifier", "abc"),
        ("prompt_cache_key", "k"),
        ("prompt_cache_retention", "24h"),
        ("prediction", {"type": "content", "content": "x"}),
        ("modalities", ["text"]),
        ("verbosity", "low"),
        ("stream", False),
        ("stream_options", {"include_usage": True}),
        ("add_generation_prompt", True),
        ("echo", False),
        ("best_of", 1),
        ("suffix", ""),
        ("repetition_penalty", 1.0),
        ("min_tokens", 0),
        ("frequency_penalty", 0.0),
        ("ignore_eos", False),
        ("use_beam_search", False),
        ("skip_special_tokens", True),
        ("bad_words", []),
        ("documents", []),
        ("mm_processor_kwargs", {}),
        ("audio", None),
        ("web_search_options", None),
        ("anything", None),
    ],
)
def test_a_field_that_changes_no_answer_is_taken_out(name: str, value: object) -> None:
    assert known_fields({name: value, "seed": 5}, SUPPORTED) == {"seed": 5}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("audio", {"voice": "alloy"}, "body.audio is not supported: the model reads and writes text only"),
        ("modalities", ["text", "audio"], "body.modalities is not supported: the model reads"),
        (
            "web_search_options",
            {},
            "body.web_search_options is not supported: nothing is looked up on the web",
        ),
        ("best_of", 3, "body.best_of is not supported: use n"),
        ("extra_body", {"top_k": 4}, "body.extra_body is not supported: write its fields into the body"),
        ("thinking", {"type": "enabled"}, "body.thinking is not supported: use reasoning_effort, "),
        ("min_tokens", 5, "min_tokens is 5, only 0 is supported"),
        ("stream", True, "stream is true, only false is supported"),
        ("top_n_sigma", 2, "top_n_sigma is 2, only -1 or 0 is supported"),
    ],
)
def test_a_known_field_that_is_not_supported_is_refused_with_the_reason(
    name: str, value: object, message: str
) -> None:
    assert refusal(name, value).startswith(message)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_token", "max_tokens"),
        ("maxTokens", "max_tokens"),
        ("Temperature", "temperature"),
        ("topK", "top_k"),
        ("stops", "stop"),
        ("frequency_penality", "frequency_penalty"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_known_one(name: str, meant: str) -> None:
    assert refusal(name, 1) == f"body.{name} is not supported; did you mean {meant}?"
    assert refusal("nothing like it", 1) == "body.nothing like it is not supported"


def test_an_empty_value_of_a_supported_field_means_not_given() -> None:
    given: dict[str, object] = {"stop": "", "tools": {}, "seed": None, "temperature": 0, "prompt": ""}
    assert known_fields(given, SUPPORTED) == {"temperature": 0, "prompt": ""}


def test_a_number_of_logprobs_asks_for_that_many_alternatives() -> None:
    assert usual_form({"logprobs": 2}, SUPPORTED) == {"logprobs": True, "top_logprobs": 2}
    assert usual_form({"logprobs": 0, "top_logprobs": 0}, SUPPORTED) == {"logprobs": False}
    assert usual_form({"logprobs": True, "top_logprobs": 0}, SUPPORTED) == {
        "logprobs": True,
        "top_logprobs": 0,
    }


def test_functions_of_the_api_before_tools_become_tools() -> None:
    function = {"name": "weather", "parameters": {"type": "object"}, "description": None}
    given = {"functions": [function], "function_call": {"name": "weather"}}
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    choice = {"type": "function", "function": {"name": "weather"}}
    names = Body.__struct_fields__
    assert usual_form(given, names) == {"tools": [tool], "tool_choice": choice}
    assert usual_form({"functions": [function], "function_call": "auto"}, names)["tool_choice"] == "auto"
    assert usual_form({"functions": [], "function_call": None}, names) == {}
    with pytest.raises(RequestError, match="functions and tools are both given"):
        usual_form({**given, "tools": [tool]}, names)
