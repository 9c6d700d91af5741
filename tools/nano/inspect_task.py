"""nano's held-out questions as a task of Inspect, for `ossctl eval tools/nano/inspect_task.py -m nano -t 0`.

As in `evaluate.py`, except that an answer is held to its schema, and a required call to its function.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
)
from inspect_ai.scorer import CORRECT, INCORRECT, Score, Scorer, Target, accuracy, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.tool import ToolCall as InspectCall

from ossctl.dialect import Conversation, Message, ToolCall
from tools.nano import corpus

_SEED = 20_000  # that of evaluate.py


@task
def held_out(count: int = 1_000) -> Task:
    """The questions of the README, in its order."""
    dataset = [
        Sample(
            id=number,
            input=[*map(_message, sample.conversation.messages)],
            target=sample.answer.arguments if isinstance(sample.answer, ToolCall) else sample.answer,
            metadata={"kind": sample.kind},
        )
        for number, sample in enumerate(_chosen(count))
    ]
    return Task(dataset=dataset, solver=_ask(count), scorer=_right(count))


@functools.cache
def _chosen(count: int) -> list[corpus.Sample]:
    return list(itertools.islice(corpus.samples(_SEED, held_out=True), count))


@solver
def _ask(count: int) -> Solver:
    chosen = _chosen(count)

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        conversation = chosen[int(state.sample_id)].conversation
        return await generate(state, tool_calls="none", extra_body=dict(_fields(conversation)))

    return solve


@scorer(metrics=[accuracy(), stderr()])
def _right(count: int) -> Scorer:
    chosen = _chosen(count)

    async def score(state: TaskState, target: Target) -> Score:
        message = state.output.message
        calls = [
            ToolCall(each.function, msgspec.json.encode(each.arguments).decode())
            for each in message.tool_calls or ()
        ]
        right = corpus.is_right(chosen[int(state.sample_id)], state.output.completion, calls)
        return Score(value=CORRECT if right else INCORRECT, answer=message.text or repr(calls))

    return score


def _message(message: Message) -> Any:
    if message.role == "system":
        return ChatMessageSystem(content=message.content)
    if message.role == "user":
        return ChatMessageUser(content=message.content)
    if message.role == "tool":
        return ChatMessageTool(content=message.content, function=message.tool, tool_call_id=message.tool)
    calls = [
        InspectCall(id=each.name, function=each.name, arguments=msgspec.json.decode(each.arguments))
        for each in message.calls
    ]
    return ChatMessageAssistant(content=message.content, tool_calls=calls or None)


def _fields(conversation: Conversation) -> Iterator[tuple[str, object]]:
    """The fields of a request beside the messages, as OpenAI's API has them."""
    if conversation.tools:
        yield (
            "tools",
            [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": tool.parameters,
                    },
                }
                for tool in conversation.tools
            ],
        )
        choice = conversation.tool_choice
        named = {"type": "function", "function": {"name": choice.name}}
        yield "tool_choice", named if choice.name else choice.mode
    if conversation.json_format is not None:
        schema = {"name": "answer", "schema": conversation.json_format.schema}
        yield "response_format", {"type": "json_schema", "json_schema": schema}
    if conversation.effort is not None:
        yield "reasoning_effort", conversation.effort
    if conversation.date is not None:
        yield "date", conversation.date.isoformat()
