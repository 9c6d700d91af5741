"""Encodes output records, in the format of OpenAI's Batch API or flat.

The id of a record is a hash of the model and of all that the answer depends on, so that `--resume` can tell
which answers are still valid without a field that OpenAI's format does not have.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec

from ossctl.app.inference.generation import Generation, draft_usage
from ossctl.app.wire.chat_completions import Task, read_record
from ossctl.app.wire.completions import CompletionTask, text_completion
from ossctl.app.wire.embeddings import EmbeddingTask
from ossctl.app.wire.lines import Line
from ossctl.app.wire.response_object import response_object
from ossctl.app.wire.responses import ResponseTask
from ossctl.dialect import ToolCall
from ossctl.engine.request import TokenLogprob
from ossctl.errors import RequestError

ID_PREFIX = "batch_req_ossctl2_"  # 2: the version of the hash
ID_PREFIX_1 = "batch_req_ossctl1_"  # its answers depended on max_tokens


@dataclass(frozen=True)
class ModelIdentity:
    """The model of a batch: `fingerprint` identifies its weights, `piece` returns a token's bytes."""

    name: str
    fingerprint: bytes
    piece: Callable[[int], bytes]


@dataclass(frozen=True)
class ResultRecords:
    """Encodes records, OpenAI's or `flat`; with `keep_input`, they repeat the input's record.

    `deterministic` is written to the settings of each.
    """

    model: ModelIdentity
    flat: bool = False
    keep_input: bool = False
    deterministic: bool = False

    def id_of(self, custom_id: str, request_key: bytes, prefix: str = ID_PREFIX) -> str:
        """The id of a request's record; `request_key` is that of its answer or failure."""
        state = blake2b(self.model.fingerprint, digest_size=16)
        for part in (custom_id.encode("utf-8", "surrogatepass"), request_key):
            state.update(len(part).to_bytes(8))
            state.update(part)
        return prefix + state.hexdigest()

    def answer(self, line: Line, task: Task, generations: Sequence[Generation]) -> bytes:
        """Encode the record of an answered request, without a newline."""
        record_id = self.id_of(task.custom_id, task.request_key.answer)
        if self.flat:
            fields = _flat(generations, {"settings": self._settings(task, generations), **_metadata(task)})
            return self._encode(line, {"id": record_id, "custom_id": task.custom_id, **fields})
        identity = uuid.uuid4().hex
        body = {
            "id": f"chatcmpl-{identity}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.model.name,
            "choices": [
                {**_choice(index, task, generation, self.model.piece), **tokens}
                for index, (generation, tokens) in enumerate(_with_tokens(generations))
            ],
            "usage": _usage(generations),
            "settings": self._settings(task, generations),
            **_metadata(task),
        }
        if isinstance(task, CompletionTask):
            body = text_completion(body)
        elif isinstance(task, ResponseTask):
            body = response_object(body, task.echo)
        response = {"status_code": 200, "request_id": f"req_{identity}", "body": body}
        return self._encode(
            line, {"id": record_id, "custom_id": task.custom_id, "response": response, "error": None}
        )

    def embeddings(self, line: Line, task: EmbeddingTask, body: dict[str, Any]) -> bytes:
        """Encode the record of a request for embeddings, answered by `body`, without a newline."""
        ids = {"id": self.id_of(task.custom_id, task.request_key.answer), "custom_id": task.custom_id}
        if self.flat:
            vectors = [entry["embedding"] for entry in body["data"]]
            tokens = body["usage"]["prompt_tokens"]
            return self._encode(line, {**ids, "embeddings": vectors, "prompt_tokens": tokens, "error": None})
        response = {"status_code": 200, "request_id": f"req_{uuid.uuid4().hex}", "body": body}
        return self._encode(line, {**ids, "response": response, "error": None})

    def failure(self, line: Line, custom_id: str, request_key: bytes, error: RequestError) -> bytes:
        """Encode the record of a failed request, without a newline."""
        message = f"line {line.number}: {error.message}"
        details = {"code": error.code, "message": message, "line": line.number}
        answer = {"content": None} if self.flat else {"response": None}
        record_id = self.id_of(custom_id, request_key)
        return self._encode(line, {"id": record_id, "custom_id": custom_id, **answer, "error": details})

    def _settings(self, task: Task, generations: Sequence[Generation]) -> dict[str, Any]:
        return {**_settings(task, generations), **({"deterministic": True} if self.deterministic else {})}

    def _encode(self, line: Line, record: dict[str, Any]) -> bytes:
        if self.keep_input:
            try:
                record["input"] = read_record(line)
            except RequestError:
                record["input"] = None  # not valid JSON
        return msgspec.json.encode(record)


def _choice(index: int, task: Task, generation: Generation, piece: Callable[[int], bytes]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": generation.content}
    if generation.all_reasoning:
        message["reasoning_content"] = generation.all_reasoning
    if generation.calls:
        message["tool_calls"] = [_tool_call(call) for call in generation.calls]
    choice = {"index": index, "message": message, "finish_reason": generation.finish, "logprobs": None}
    if generation.earlier.tool_results:
        choice["tool_results"] = generation.earlier.tool_results
    if details := _finish_details(generation):
        choice["finish_details"] = details
    if task.sampling.logprobs is not None:
        choice["logprobs"] = {"content": [_logprob(*entry, piece) for entry in generation.logprobs]}
    return choice


def _flat(generations: Sequence[Generation], extra: dict[str, Any]) -> dict[str, Any]:
    choices = [
        {
            "content": generation.content,
            "reasoning": generation.all_reasoning,
            "tool_calls": [{"name": call.name, "arguments": call.arguments} for call in generation.calls],
            **({"tool_results": results} if (results := generation.earlier.tool_results) else {}),
            "finish_reason": generation.finish,
            **tokens,
        }
        for generation, tokens in _with_tokens(generations)
    ]
    usage = _usage(generations)
    return {
        **choices[0],
        **({"choices": choices} if len(choices) > 1 else {}),
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "reasoning_tokens": usage["completion_tokens_details"]["reasoning_tokens"],
        "created": int(time.time()),
        **extra,
        "error": None,
    }


def _with_tokens(generations: Sequence[Generation]) -> Iterator[tuple[Generation, dict[str, int]]]:
    """Each choice with its token count, if there are several: the usage counts them together."""
    for generation in generations:
        several = len(generations) > 1
        yield generation, {"completion_tokens": generation.completion_tokens} if several else {}


def _tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{uuid.uuid4().hex}", "type": "function", "function": function}


def _finish_details(generation: Generation) -> dict[str, Any]:
    """Whether the answer was cut before it began, how often it was sampled, and how it broke its format."""
    details: dict[str, Any] = {}
    if generation.cut_in_reasoning:
        details["cut_in"] = "reasoning"
    if generation.attempts > 1:
        details |= {"attempts": generation.attempts, "seed": generation.request.sampling.seed}
    if generation.recovered:
        details["recovered"] = list(generation.recovered)
    return details


def _settings(task: Task, generations: Sequence[Generation]) -> dict[str, Any]:
    """The settings, besides the request itself, that reproduce an answer."""
    conversation = task.conversation
    first, *others = generations
    again = first.attempts > 1 and not others
    seed = first.request.sampling.seed if again else task.sampling.seed
    settings: dict[str, Any] = {"seed": seed}
    if conversation.effort is not None:
        settings["reasoning_effort"] = conversation.effort
    if conversation.date is not None:
        settings["date"] = conversation.date
    if conversation.max_reasoning_tokens is not None:
        settings["max_reasoning_tokens"] = conversation.max_reasoning_tokens
    if conversation.think is not None:
        settings["think"] = conversation.think
    if conversation.template_variables:
        settings["template_variables"] = conversation.template_variables
    return settings


def _metadata(task: Task) -> dict[str, Any]:
    return {} if task.metadata is None else {"metadata": task.metadata}


def _usage(generations: Sequence[Generation]) -> dict[str, Any]:
    """Token counts of a request; the prompt, which its choices share, counts once.

    Answers that did not fit the schema count as well, and `rejected_tokens` are theirs.
    """
    totals = [generation.totals for generation in generations]
    prompt = len(generations[0].request.prompt) + sum(generation.earlier.prompt for generation in generations)
    cached = min(generation.cached_tokens for generation in generations)
    cached += sum(generation.earlier.cached for generation in generations)
    rejected = sum(each.rejected for each in totals)
    completion = sum(each.completion for each in totals)
    reasoning = sum(each.reasoning for each in totals)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            **({"rejected_tokens": rejected} if rejected else {}),
            **draft_usage(sum(each.drafted for each in totals), sum(each.accepted for each in totals)),
        },
    }


def _logprob(token: int, entry: TokenLogprob, piece: Callable[[int], bytes]) -> dict[str, Any]:
    top = [_token_entry(piece(other), value) for other, value in entry.top]
    return {**_token_entry(piece(token), entry.logprob), "top_logprobs": top}


def _token_entry(piece: bytes, logprob: float) -> dict[str, Any]:
    return {"token": piece.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(piece)}
