"""The lines of a batch's output: OpenAI's Batch records, or flat ones.

The id of a record tells what it is the answer to: a hash of the model and of all that was asked. So a record
stays valid in OpenAI's format, and a batch that goes on knows which answers still hold.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec

from ossctl.app.inference.generation import Generation
from ossctl.app.wire.chat_completions import Task, read_record
from ossctl.app.wire.lines import Line
from ossctl.dialect import ToolCall
from ossctl.engine.request import TokenLogprob
from ossctl.errors import RequestError

ID_PREFIX = "batch_req_ossctl1_"  # 1: what is hashed, and how


@dataclass(frozen=True)
class ModelIdentity:
    """The model that answers; `fingerprint` tells it from others of its name.

    `piece` gives a token's bytes.
    """

    name: str
    fingerprint: bytes
    piece: Callable[[int], bytes]


@dataclass(frozen=True)
class ResultRecords:
    """Makes the records of one output: `flat`, or as OpenAI's; `keep_input` repeats the input in them."""

    model: ModelIdentity
    flat: bool = False
    keep_input: bool = False

    def id_of(self, custom_id: str, asked: bytes) -> str:
        """The id of a request's record; `asked` is what it asks for, or its bytes if that is not known."""
        state = blake2b(self.model.fingerprint, digest_size=16)
        for part in (custom_id.encode("utf-8", "surrogatepass"), asked):
            state.update(len(part).to_bytes(8))
            state.update(part)
        return ID_PREFIX + state.hexdigest()

    def answer(self, line: Line, task: Task, generations: Sequence[Generation]) -> bytes:
        """The record of an answered request, all of its choices, without the newline."""
        record_id = self.id_of(task.custom_id, task.asked)
        if self.flat:
            fields = _flat(task, generations)
            return self._encoded(line, {"id": record_id, "custom_id": task.custom_id, **fields})
        identity = uuid.uuid4().hex
        body = {
            "id": f"chatcmpl-{identity}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.model.name,
            "choices": [
                _choice(index, task, generation, self.model.piece)
                for index, generation in enumerate(generations)
            ],
            "usage": _usage(generations),
            "settings": _settings(task),
        }
        response = {"status_code": 200, "request_id": f"req_{identity}", "body": body}
        return self._encoded(
            line, {"id": record_id, "custom_id": task.custom_id, "response": response, "error": None}
        )

    def failure(self, line: Line, custom_id: str, asked: bytes, error: RequestError) -> bytes:
        """The record of a request that has no answer, without the newline."""
        message = f"line {line.number}: {error.message}"
        details = {"code": error.code, "message": message, "line": line.number}
        nothing = {"content": None} if self.flat else {"response": None}
        record_id = self.id_of(custom_id, asked)
        return self._encoded(line, {"id": record_id, "custom_id": custom_id, **nothing, "error": details})

    def _encoded(self, line: Line, record: dict[str, Any]) -> bytes:
        if self.keep_input:
            try:
                record["input"] = read_record(line)
            except RequestError:
                record["input"] = None  # it is not JSON
        return msgspec.json.encode(record)


def _choice(index: int, task: Task, generation: Generation, piece: Callable[[int], bytes]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": generation.content}
    if generation.reasoning:
        message["reasoning_content"] = generation.reasoning
    if generation.calls:
        message["tool_calls"] = [_tool_call(call) for call in generation.calls]
    choice = {"index": index, "message": message, "finish_reason": generation.finish, "logprobs": None}
    if details := _finish_details(generation):
        choice["finish_details"] = details
    if task.sampling.logprobs is not None:
        choice["logprobs"] = {"content": [_logprob(*entry, piece) for entry in generation.logprobs]}
    return choice


def _flat(task: Task, generations: Sequence[Generation]) -> dict[str, Any]:
    choices = [
        {
            "content": generation.content,
            "reasoning": generation.reasoning,
            "tool_calls": [{"name": call.name, "arguments": call.arguments} for call in generation.calls],
            "finish_reason": generation.finish,
        }
        for generation in generations
    ]
    usage = _usage(generations)
    return {
        **choices[0],
        **({"choices": choices} if len(choices) > 1 else {}),
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "reasoning_tokens": usage["completion_tokens_details"]["reasoning_tokens"],
        "created": int(time.time()),
        "settings": _settings(task),
        "error": None,
    }


def _tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{uuid.uuid4().hex}", "type": "function", "function": function}


def _finish_details(generation: Generation) -> dict[str, Any]:
    """What a reader of the answer has to know: it was cut before it began, or its format was broken."""
    details: dict[str, Any] = {}
    if generation.cut_in_reasoning:
        details["cut_in"] = "reasoning"
    if generation.recovered:
        details["recovered"] = list(generation.recovered)
    return details


def _settings(task: Task) -> dict[str, Any]:
    """What else it takes to run a request again."""
    conversation = task.conversation
    settings: dict[str, Any] = {"seed": task.sampling.seed}
    if conversation.effort is not None:
        settings["reasoning_effort"] = conversation.effort
    if conversation.date is not None:
        settings["date"] = conversation.date
    if conversation.max_reasoning_tokens is not None:
        settings["max_reasoning_tokens"] = conversation.max_reasoning_tokens
    return settings


def _usage(generations: Sequence[Generation]) -> dict[str, Any]:
    """The prompt counts once, however many choices there are."""
    prompt = len(generations[0].request.prompt)
    completion = sum(generation.completion_tokens for generation in generations)
    reasoning = sum(generation.reasoning_tokens for generation in generations)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": min(g.cached_tokens for g in generations)},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def _logprob(token: int, entry: TokenLogprob, piece: Callable[[int], bytes]) -> dict[str, Any]:
    top = [_token_entry(piece(other), value) for other, value in entry.top]
    return {**_token_entry(piece(token), entry.logprob), "top_logprobs": top}


def _token_entry(piece: bytes, logprob: float) -> dict[str, Any]:
    return {"token": piece.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(piece)}
