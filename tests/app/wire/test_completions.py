"""Requests to /v1/completions."""

import json
from typing import Any

import pytest

from ossctl.app.batch.line_parser import LineParser
from ossctl.app.inference.defaults import Defaults
from ossctl.app.wire.chat_completions import Task
from ossctl.app.wire.completions import CompletionTask
from ossctl.app.wire.lines import Line
from ossctl.dialect import Conversation, JsonFormat, Message
from ossctl.errors import RequestError

URL = "/v1/completions"
FOR_GPT_OSS = Defaults(effort="medium", max_reasoning_tokens=9)


def task_of(defaults: Defaults = FOR_GPT_OSS, url: str = URL, **body: object) -> Task:
    line = Line(7, json.dumps({"custom_id": "a", "url": url, "body": body}).encode())
    return LineParser(defaults).parse(line)


def refusal(defaults: Defaults = FOR_GPT_OSS, **body: Any) -> str:
    with pytest.raises(RequestError) as refused:
        task_of(defaults, **body)
    return refused.value.message


@pytest.mark.parametrize("prompt", ["Snow is", ["Snow is"]])
def test_a_prompt_is_a_raw_text(prompt: object) -> None:
    task = task_of(prompt=prompt, max_tokens=5.0, stop="\n", temperature=0.5, seed=3, n=2)
    assert isinstance(task, CompletionTask)
    assert task.raw
    assert task.conversation == Conversation((Message("user", "Snow is"),))
    assert (task.max_tokens, task.stops, task.n) == (5, ("\n",), 2)
    assert (task.sampling.temperature, task.sampling.seed) == (0.5, 3)


def test_it_is_another_request_than_the_same_text_in_a_chat() -> None:
    chat = task_of(Defaults(), "/v1/chat/completions", messages=[{"role": "user", "content": "Snow is"}])
    assert task_of(Defaults(), prompt="Snow is").request_key != chat.request_key
    assert task_of(prompt="Snow is").request_key == task_of(Defaults(), prompt="Snow is").request_key


@pytest.mark.parametrize(("given", "found"), [(None, None), (0, 0), (3, 3), (5.0, 5)])
def test_logprobs_are_a_number_of_alternatives(given: object, found: int | None) -> None:
    assert task_of(prompt="Hi", logprobs=given).sampling.logprobs == found


def test_metadata_is_kept_and_neutral_values_are_accepted() -> None:
    neutral: dict[str, Any] = {"best_of": 1, "echo": False, "suffix": "", "user": "u", "presence_penalty": 0}
    assert task_of(prompt="Hi", metadata={"a": 1}, **neutral).metadata == {"a": 1}
    assert task_of(prompt="Hi", **neutral) == task_of(prompt="Hi")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "body.prompt is missing"),
        ({"prompt": ""}, "body.prompt is empty"),
        ({"prompt": []}, "body.prompt is empty"),
        ({"prompt": ["a", "b"]}, "body.prompt has several texts; give each a line of its own"),
        ({"prompt": [1, 2]}, "body.prompt: expected a text; token ids are not supported"),
        ({"prompt": "Hi", "messages": []}, "body.messages is not supported"),
        ({"prompt": "Hi", "tools": [{}]}, "body.tools is not supported"),
        ({"prompt": "Hi", "suffix": "x"}, "body.suffix is not supported: "),
        ({"prompt": "Hi", "echo": True}, "body.echo is not supported: "),
        ({"prompt": "Hi", "logprobs": 21}, "top_logprobs is 21, must be from 0 to 20"),
        ({"prompt": "Hi", "max_token": 5}, "body.max_token is not supported; did you mean max_tokens?"),
    ],
)
def test_what_is_not_supported_is_refused_by_its_name(body: dict[str, Any], message: str) -> None:
    assert refusal(**body).startswith(message)


@pytest.mark.parametrize(
    ("defaults", "option"),
    [(Defaults(system="x"), "system"), (Defaults(json_format=JsonFormat({})), "schema")],
)
def test_options_that_need_a_chat_format_are_refused(defaults: Defaults, option: str) -> None:
    assert refusal(defaults, prompt="Hi").startswith(f"--{option} cannot be used with /v1/completions")
