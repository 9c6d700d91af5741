"""Parses requests to `/v1/embeddings`, and makes the list of vectors that answers them."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from ossctl.app.wire.chat_completions import convert, id_of
from ossctl.app.wire.endpoints import Endpoint, endpoint_of
from ossctl.app.wire.lines import Line
from ossctl.app.wire.request_key import RequestKey
from ossctl.errors import RequestError

_MAX_INPUTS = 2048  # OpenAI's limit
_DECIMALS = 10  # float32 has 8 to 9 in vectors of unit length

Vector = npt.NDArray[np.float32]


class EmbeddingOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The fields of a body, except its input."""

    model: Any = None  # ignored, as are the next: one model answers all requests
    user: Any = None
    metadata: Any = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


class Body(EmbeddingOptions, forbid_unknown_fields=True, kw_only=True):
    input: str | list[Any]


class BatchLine(msgspec.Struct, forbid_unknown_fields=True):
    """A line of OpenAI's Batch API."""

    custom_id: str | int
    url: str
    body: Body
    method: Literal["POST"] = "POST"


class Shorthand(EmbeddingOptions, forbid_unknown_fields=True, kw_only=True):
    """`{"input": …}`, or `prompt` as in other batches, with an optional id and any options of a body."""

    input: str | list[Any] | None = None
    prompt: str | None = None
    id: str | int | None = None
    custom_id: str | int | None = None


@dataclass(frozen=True)
class EmbeddingTask:
    """A parsed request. `request_key` identifies it."""

    line: int
    custom_id: str
    inputs: tuple[str, ...]
    as_base64: bool
    dimensions: int | None
    request_key: RequestKey


def refuse_embeddings(record: dict[str, Any], model: str) -> None:
    """Raise RequestError if `record` asks for embeddings, but `model` generates text."""
    url = record.get("url")
    if "body" in record and isinstance(url, str) and endpoint_of(url) is Endpoint.EMBEDDINGS:
        name = model or "this model"
        raise RequestError(f"url: {url[:80]} needs an embedding model (-m), but {name} generates text")


def parse_embedding_task(record: dict[str, Any], line: Line, model: str) -> EmbeddingTask:
    """Parse the record on `line`, for the embedding model of that name. Raises RequestError."""
    options: EmbeddingOptions
    given: str | list[Any] | None
    if "body" in record:
        url = record.get("url", "/v1/chat/completions")
        if isinstance(url, str) and endpoint_of(url) is not Endpoint.EMBEDDINGS:
            name = model or "this model"
            raise RequestError(
                f"url: {url[:80]} needs a model that generates text (-m), but {name} embeds it"
            )
        batch_line = convert(record, BatchLine)
        options, given = batch_line.body, batch_line.body.input
        custom_id = id_of(line, batch_line.custom_id)
    else:
        if "messages" in record:
            raise RequestError("messages are for chat models; give an embedding model its text as input")
        options = shorthand = convert(record, Shorthand)
        given, custom_id = _given(shorthand), id_of(line, shorthand.custom_id, shorthand.id)
    if options.dimensions is not None and options.dimensions < 1:
        raise RequestError(f"dimensions is {options.dimensions}, must be at least 1")
    inputs = _inputs(given)
    as_base64 = options.encoding_format == "base64"
    key = RequestKey(("embeddings", inputs, as_base64, options.dimensions))
    return EmbeddingTask(line.number, custom_id, inputs, as_base64, options.dimensions, key)


def _given(shorthand: Shorthand) -> str | list[Any] | None:
    if (shorthand.prompt is None) == (shorthand.input is None):
        raise RequestError("a line needs exactly one of body, input and prompt")
    return shorthand.prompt if shorthand.input is None else shorthand.input


def _inputs(given: str | list[Any] | None) -> tuple[str, ...]:
    inputs = given if isinstance(given, list) else [given]
    if not inputs:
        raise RequestError("input is empty")
    if len(inputs) > _MAX_INPUTS:
        raise RequestError(f"input has {len(inputs):,} texts, at most {_MAX_INPUTS:,} are supported")
    for position, text in enumerate(inputs):
        where = f"input[{position}]" if isinstance(given, list) else "input"
        if not isinstance(text, str):
            raise RequestError(f"{where}: expected text; token ids differ between models")
        if not text:
            raise RequestError(f"{where} is empty")
    return tuple(inputs)


def embedding_list(
    task: EmbeddingTask, vectors: Sequence[Vector], model: str, n_tokens: int
) -> dict[str, Any]:
    """OpenAI's list of embeddings: `vectors` of unit length in the order of the inputs of `task`."""
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(task, vector)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def _encoded(task: EmbeddingTask, vector: Vector) -> str | list[float]:
    vector = shortened(vector, task.dimensions)
    if task.as_base64:
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return vector.astype(np.float64).round(_DECIMALS).tolist()  # type: ignore[no-any-return]


def shortened(vector: Vector, dimensions: int | None) -> Vector:
    """The first `dimensions` of a unit vector, scaled to unit length again, as for Matryoshka models."""
    if dimensions is None or dimensions >= len(vector):
        return vector
    start = vector[:dimensions].astype(np.float64)
    length = np.linalg.norm(start)
    return (start / length if length else start).astype(np.float32)
