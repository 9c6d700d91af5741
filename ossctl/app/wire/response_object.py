"""The answer to a Responses request, made of the chat completion that says the same."""

from collections.abc import Iterator, Mapping
from typing import Any

Json = dict[str, Any]


def response_object(completion: Mapping[str, Any], echo: Mapping[str, Any]) -> Json:
    """A `response` object with the only choice of `completion`, and the fields in `echo`."""
    identity = completion["id"].partition("-")[2]
    choice = completion["choices"][0]
    complete = choice["finish_reason"] != "length"
    details = {name: choice[name] for name in ("finish_details", "tool_results") if name in choice}
    return {
        "id": f"resp_{identity}",
        "object": "response",
        "created_at": completion["created"],
        "status": "completed" if complete else "incomplete",
        "error": None,
        "incomplete_details": None if complete else {"reason": "max_output_tokens"},
        "model": completion["model"],
        "output": list(_output(choice, identity)),
        "usage": _usage(completion["usage"]),
        "previous_response_id": None,
        **echo,
        **details,
        "settings": completion["settings"],
    }


def _output(choice: Mapping[str, Any], identity: str) -> Iterator[Json]:
    message = choice["message"]
    status = "incomplete" if choice["finish_reason"] == "length" else "completed"
    reasoning, calls = message.get("reasoning_content"), message.get("tool_calls", ())
    cut_in_reasoning = "cut_in" in choice.get("finish_details", {})
    if reasoning:
        content = [{"type": "reasoning_text", "text": reasoning}]
        ends_here = status if cut_in_reasoning else "completed"
        yield {
            "id": f"rs_{identity}",
            "type": "reasoning",
            "summary": [],
            "content": content,
            "status": ends_here,
        }
    if message["content"] or not (calls or cut_in_reasoning):
        yield {
            "id": f"msg_{identity}",
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [_text(message["content"], choice["logprobs"])],
        }
    for call in calls:
        yield {
            "id": f"fc_{call['id'].partition('_')[2]}",
            "type": "function_call",
            "call_id": call["id"],
            **call["function"],
            "status": "completed",
        }


def _text(text: str, logprobs: Mapping[str, Any] | None) -> Json:
    part = {"type": "output_text", "text": text, "annotations": []}
    return part if logprobs is None else {**part, "logprobs": logprobs["content"]}


def _usage(usage: Mapping[str, Any]) -> Json:
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": usage["completion_tokens_details"],
        "total_tokens": usage["total_tokens"],
    }
