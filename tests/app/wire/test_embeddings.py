"""Requests to /v1/embeddings, and the lists that answer them."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from openai.types import CreateEmbeddingResponse

from ossctl.app.batch.line_parser import EmbeddingLineParser, LineParser
from ossctl.app.inference.defaults import Defaults
from ossctl.app.wire.embeddings import EmbeddingTask, Vector, embedding_list
from ossctl.app.wire.lines import Line
from ossctl.errors import RequestError

PARSER = LineParser(Defaults(), model="minilm")
VECTOR = np.array([0.75, 0.0, 0.5], np.float32)


def line_of(record: object) -> Line:
    return Line(7, json.dumps(record).encode())


def batch_line(**body: object) -> dict[str, Any]:
    return {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"input": "Hi", **body}}


def answer(vector: Vector, **body: object) -> Any:
    """The vector in the answer to a line, as it is written."""
    written = embedding_list(task_of(batch_line(**body)), [vector], "m", 1)
    return json.loads(json.dumps(written))["data"][0]["embedding"]


def task_of(record: object) -> EmbeddingTask:
    return EmbeddingLineParser(PARSER).parse(line_of(record))


@pytest.mark.parametrize(
    ("record", "custom_id", "inputs"),
    [
        (batch_line(model="text-embedding-3-small", user="u", encoding_format=None), "a", ("Hi",)),
        (batch_line(input=["Hi", "Ho"]), "a", ("Hi", "Ho")),
        ({"input": "Hi"}, "line-7", ("Hi",)),
        ({"prompt": "Hi", "id": 5}, "5", ("Hi",)),
    ],
)
def test_texts_come_as_openai_writes_them_or_short(
    record: dict[str, Any], custom_id: str, inputs: tuple[str, ...]
) -> None:
    task = task_of(record)
    assert (task.custom_id, task.inputs) == (custom_id, inputs)


def test_only_what_the_vectors_depend_on_is_in_the_key() -> None:
    plain = task_of(batch_line()).request_key
    assert task_of({"input": ["Hi"], "user": "u", "encoding_format": "float"}).request_key == plain
    for other in ({"input": "Ho"}, {"dimensions": 2}, {"encoding_format": "base64"}):
        assert task_of(batch_line(**other)).request_key != plain


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (batch_line(input=""), "input is empty"),
        (batch_line(input=[]), "input is empty"),
        (batch_line(input=["a", ""]), "input[1] is empty"),
        (batch_line(input=[1, 2]), "input[0]: expected text; token ids differ between models"),
        (batch_line(input=["a"] * 2049), "input has 2,049 texts, at most 2,048 are supported"),
        (batch_line(dimensions=0), "dimensions is 0, must be at least 1"),
        (
            batch_line(encoding_format="int8"),
            "body.encoding_format: 'int8' is not supported, must be 'float' or",
        ),
        (batch_line(truncate=True), "body.truncate is not supported"),
        ({"url": "/v1/embeddings", "custom_id": "a", "body": {}}, "body.input is missing"),
        ({"input": "a", "prompt": "b"}, "a line needs exactly one of body, input and prompt"),
        ({"messages": []}, "messages are for chat models"),
        (
            {**batch_line(), "url": "/v1/chat/completions"},
            "url: /v1/chat/completions needs a model that generates text (-m), but minilm embeds it",
        ),
    ],
)
def test_an_error_names_the_field(record: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as refused:
        task_of(record)
    assert refused.value.message[: len(message)] == message


def test_a_model_that_generates_text_is_refused_by_name() -> None:
    with pytest.raises(
        RequestError, match=r"/v1/embeddings needs an embedding model \(-m\), but minilm gener"
    ):
        PARSER.parse(line_of(batch_line()))


def test_the_sdk_reads_the_vectors() -> None:
    body = embedding_list(task_of(batch_line(input=["Hi", "Ho"])), [VECTOR, -VECTOR], "minilm", 9)
    read = CreateEmbeddingResponse.model_validate(json.loads(json.dumps(body)), strict=True)
    assert [(entry.index, entry.embedding) for entry in read.data] == [
        (0, [0.75, 0.0, 0.5]),
        (1, [-0.75, -0.0, -0.5]),
    ]
    assert (read.model, read.usage.prompt_tokens, read.usage.total_tokens) == ("minilm", 9, 9)


def test_base64_and_numbers_are_the_same_vector() -> None:
    vector = (np.random.default_rng(0).standard_normal(64) / 8).astype(np.float32)
    read = np.frombuffer(base64.b64decode(answer(vector, encoding_format="base64")), "<f4")
    assert np.array_equal(read, vector)
    assert np.abs(np.array(answer(vector)) - vector).max() < 1e-10


def test_fewer_dimensions_are_a_unit_vector_again() -> None:
    assert answer(VECTOR, dimensions=1) == [1.0]
