"""The records of a batch's output, OpenAI's and flat ones."""

import datetime as dt
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from openai.types.chat import ChatCompletion

from ossctl.app.batch.line_parser import LineParser
from ossctl.app.batch.records import ModelIdentity, ResultRecords
from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.generation import Generation
from ossctl.app.wire.chat_completions import Task
from ossctl.app.wire.lines import Line
from ossctl.dialect import Answer, Event, Message, Reasoning, Recovered, ToolCall
from ossctl.engine.request import FinishReason, Generated, Request, TokenLogprob
from ossctl.errors import RequestError
from ossctl.templates.answer_parser import AnswerParser
from ossctl.templates.template_format import ChatRules, TemplateFormat

HI = {"role": "user", "content": "Hi"}
BATCH_LINE = {"custom_id": "a", "body": {"messages": [HI]}}
NUMBER = 7  # of the line
NOTHING_ELSE = Defaults()


def line_of(record: object) -> Line:
    return Line(NUMBER, json.dumps(record).encode())


def task_of(record: object, defaults: Defaults = NOTHING_ELSE) -> Task:
    return LineParser(defaults).parse(line_of(record))


def batch_line(**body: object) -> dict[str, object]:
    return {"custom_id": "a", "body": {"messages": [HI], **body}}


def answer_record(
    task: Task, generation: Generation, name: str, piece: Callable[[int], bytes], *more: Generation
) -> bytes:
    records = ResultRecords(ModelIdentity(name, b"fingerprint", piece))
    return records.answer(line_of(BATCH_LINE), task, [generation, *more])


def one_line(record: bytes) -> Any:
    assert b"\n" not in record
    return json.loads(record.decode("utf-8"))


def test_an_error_record_has_the_shape_of_openais_batches() -> None:
    records = ResultRecords(ModelIdentity("m", b"fingerprint", lambda _: b""))
    line, error = Line(3, b"{}"), RequestError("n is 2", code="invalid_request")
    record = one_line(records.failure(line, "a\n日", b"", error))
    assert record.pop("id").startswith("batch_req_")
    details = {"code": "invalid_request", "message": "line 3: n is 2", "line": 3}
    assert record == {"custom_id": "a\n日", "response": None, "error": details}


def answered(pieces: Sequence[bytes], logprob: TokenLogprob | None) -> Generation:
    """The generation of an answer of these tokens, numbered from 0, to a prompt of four tokens."""
    request = Request("7", np.arange(4, dtype=np.int32), 10, end_ids=frozenset({len(pieces) - 1}))
    generation = Generation(
        request, AnswerParser(TemplateFormat(ChatRules()), {}, pieces.__getitem__, request.end_ids)
    )
    for token in range(len(pieces)):
        finish = FinishReason.STOP if token in request.end_ids else None
        generation.feed(Generated("7", token, logprob, finish, 2))
    return generation


PIECES = [b"<think>", b"plan", b"</think>", b"\n", b"caf\xc3", b"\xa9\n", b"<|end|>"]


class SaidParser:
    """A parser to which the first token says everything."""

    answering = True

    def __init__(self, *events: Event) -> None:
        self._events = events
        self.reasoning_tokens = sum(isinstance(event, Reasoning) for event in events)

    def feed(self, token: int) -> Sequence[Event]:
        return self._events

    def close(self, *, cut: bool) -> Sequence[Event]:
        return ()


def choice_of(*events: Event, finish: FinishReason = FinishReason.STOP) -> Any:
    """The choice in the record of an answer of these events."""
    generation = Generation(Request("7", np.arange(4, dtype=np.int32), 10), SaidParser(*events))
    generation.feed(Generated("7", 0, None, finish, 0))
    record = one_line(answer_record(task_of(BATCH_LINE), generation, "m", lambda _: b""))
    return record["response"]["body"]["choices"][0]


def test_an_answer_record_has_the_shape_of_a_chat_completion() -> None:
    record = one_line(answer_record(task_of(BATCH_LINE), answered(PIECES, None), "m", PIECES.__getitem__))
    body, usage = record["response"]["body"], record["response"]["body"]["usage"]
    assert record["id"].startswith("batch_req_")
    assert record["response"]["request_id"] == f"req_{body['id'].removeprefix('chatcmpl-')}"
    ChatCompletion.model_validate(body)
    assert (record["custom_id"], record["error"], record["response"]["status_code"]) == ("a", None, 200)
    assert (body["object"], body["model"], type(body["created"])) == ("chat.completion", "m", int)
    message = {"role": "assistant", "content": "café\n", "reasoning_content": "plan"}
    assert body["choices"] == [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (4, 7, 11)
    assert usage["prompt_tokens_details"] == {"cached_tokens": 2}
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 4}
    assert body["settings"] == {"seed": NUMBER}


def test_the_settings_reproduce_the_request() -> None:
    asked = {"seed": 5, "reasoning_effort": "low", "date": "2026-01-31"}
    for task in (
        task_of(batch_line(**asked)),
        task_of(batch_line(seed=5), Defaults(dt.date(2026, 1, 31), "low")),
    ):
        record = one_line(answer_record(task, answered(PIECES, None), "m", PIECES.__getitem__))
        settings = record["response"]["body"]["settings"]
        assert settings == asked
        assert task_of(batch_line(**settings)) == task_of(batch_line(**asked))


def test_calls_are_recorded_with_ids_of_their_own() -> None:
    choice = choice_of(Reasoning("plan"), ToolCall("time", "{}"), ToolCall("weather", "{not JSON"))
    message = choice["message"]
    assert (message["content"], choice["finish_reason"]) == ("", "tool_calls")
    assert [call["type"] for call in message["tool_calls"]] == ["function"] * 2
    assert [call["function"] for call in message["tool_calls"]] == [
        {"name": "time", "arguments": "{}"},
        {"name": "weather", "arguments": "{not JSON"},
    ]
    assert len({call["id"] for call in message["tool_calls"]}) == 2


def test_a_recorded_message_with_calls_can_be_sent_back() -> None:
    message = choice_of(Reasoning("plan"), ToolCall("time", "{}"))["message"]
    result = {"role": "tool", "content": "Noon.", "tool_call_id": message["tool_calls"][0]["id"]}
    assert task_of({"messages": [HI, message, result]}).conversation.messages[1:] == (
        Message("assistant", "", "plan", (ToolCall("time", "{}"),)),
        Message("tool", "Noon.", tool="time"),
    )


def test_finish_details_are_only_for_cut_and_recovered_answers() -> None:
    assert "finish_details" not in choice_of(Reasoning("plan"), Answer("Hi"))
    assert "finish_details" not in choice_of(Answer("Hi"), finish=FinishReason.LENGTH)
    cut = choice_of(Reasoning("plan"), finish=FinishReason.REPETITION)
    assert (cut["finish_details"], cut["finish_reason"]) == ({"cut_in": "reasoning"}, "repetition")
    broken = choice_of(Recovered("no channel"), Answer("Hi"), Recovered("no end"))
    assert broken["finish_details"] == {"recovered": ["no channel", "no end"]}


def test_log_probabilities_are_recorded_with_the_bytes_of_their_tokens() -> None:
    task = task_of(batch_line(logprobs=True, top_logprobs=1))
    generation = answered([b"caf\xc3", b"\xa9", b"<|end|>"], TokenLogprob(-0.5, ((1, -0.25),)))
    record = one_line(answer_record(task, generation, "m", [b"caf\xc3", b"\xa9", b""].__getitem__))
    likeliest = {"token": "\ufffd", "logprob": -0.25, "bytes": [0xA9]}
    chosen = [("caf\ufffd", [*b"caf\xc3"]), ("\ufffd", [0xA9])]
    assert record["response"]["body"]["choices"][0]["logprobs"] == {
        "content": [
            {"token": text, "logprob": -0.5, "bytes": data, "top_logprobs": [likeliest]}
            for text, data in chosen
        ]
    }


def test_the_metadata_of_a_request_comes_back() -> None:
    asked = batch_line(metadata={"doc": "7"})
    task = task_of(asked)
    assert task.request_key == task_of(BATCH_LINE).request_key
    body = one_line(answer_record(task, answered(PIECES, None), "m", PIECES.__getitem__))["response"]["body"]
    assert body["metadata"] == {"doc": "7"}
    records = ResultRecords(ModelIdentity("m", b"fingerprint", PIECES.__getitem__), flat=True)
    flat = one_line(records.answer(line_of(asked), task, [answered(PIECES, None)]))
    assert flat["metadata"] == {"doc": "7"}
