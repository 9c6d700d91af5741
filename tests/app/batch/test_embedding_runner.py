"""Batches of texts with a small embedding model: packed, resumed, and refused where a model cannot do it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ossctl.app.batch.dry_run import dry_run
from ossctl.app.batch.job import BatchJob
from ossctl.app.batch.line_parser import LineParser
from ossctl.app.batch.line_runner import Rules
from ossctl.app.batch.run import BatchModel, run_batch
from ossctl.app.batch.sink import Sink
from ossctl.app.batch.summary import BatchSummary
from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadOptions, load_model
from ossctl.app.wire.source import Source
from ossctl.errors import ModelError, UsageError
from ossctl.planning.workload import Purpose, Workload
from ossctl.runtime.embeddings import LlamaEmbedder
from ossctl.runtime.model import LlamaModel
from tests.support.embedding_models import CONTEXT, bert, qwen3_embedding

TEXTS = [f"the snow of norway is {word}" for word in ("white", "king", "colour", "what")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert(tmp_path_factory.mktemp("models") / "bert.gguf")


def run(
    model: Path, folder: Path, lines: Sequence[dict[str, Any]], **sink: Any
) -> tuple[BatchSummary, list[Any]]:
    """Run `lines` and return what is in the output then."""
    source, output = folder / "in.jsonl", folder / "out.jsonl"
    source.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    job = BatchJob(Source(source), Sink(output, **sink), LineParser(Defaults()), Rules(in_order=True))
    summary = run_batch(
        job, job.prepare(), BatchModel(model, LoadOptions(device="cpu")), lambda _: None, print
    )
    return summary, [json.loads(line) for line in output.read_text().splitlines()]


def test_each_text_gets_its_own_vector(model: Path, tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"id": n, "input": TEXTS[n % 4] if n % 3 else [TEXTS[n % 4], "snow"]} for n in range(200)
    ]
    summary, records = run(model, tmp_path, lines)
    assert (summary.done, summary.failed, summary.embedded) == (200, 0, 267)
    with LlamaModel(model) as loaded, LlamaEmbedder(loaded, 64, CONTEXT) as embedder:
        expected = {text: embedder.embed([embedder.tokenize(text)])[0] for text in (*TEXTS, "snow")}
    for line, record in zip(lines, records, strict=True):
        texts = line["input"] if isinstance(line["input"], list) else [line["input"]]
        found = [entry["embedding"] for entry in record["response"]["body"]["data"]]
        assert record["custom_id"] == str(line["id"])
        cosines = np.array(found) @ np.stack([*expected.values()]).T
        assert [[*expected][best] for best in cosines.argmax(axis=1)] == texts
        assert cosines.max(axis=1).min() > 0.9999


def test_lines_that_fail_leave_the_others_alone_and_nothing_runs_twice(model: Path, tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"id": "a", "input": "the king"},
        {"id": "b", "input": ["snow", "the snow " * 300]},
        {"id": "c", "input": "snow", "dimensions": 65},
        {"id": "d", "input": "snow", "dimensions": 2},
    ]
    summary, records = run(model, tmp_path, lines)
    assert [record["error"] and record["error"]["message"] for record in records] == [
        None,
        "line 2: input[1] has 602 tokens, but the model takes up to 512",
        "line 3: dimensions is 65, the model's vectors have 64",
        None,
    ]
    assert summary.exit_code == 3
    resumed, _ = run(model, tmp_path, [*lines, {"id": "e", "input": "snow"}], resume=True)
    assert (resumed.done, resumed.skipped, resumed.failed) == (1, 4, 0)


def test_flat_records_have_the_vectors_at_the_top(model: Path, tmp_path: Path) -> None:
    _, [record] = run(model, tmp_path, [{"id": "a", "input": ["snow", "king"], "dimensions": 2}], flat=True)
    assert (np.shape(record["embeddings"]), record["prompt_tokens"], record["error"]) == ((2, 2), 6, None)


@pytest.mark.parametrize("write", [bert, qwen3_embedding])
def test_an_embedding_model_is_refused_where_text_is_generated(write: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "embedder.gguf")
    with (
        pytest.raises(ModelError, match=r"embedder\.gguf is an embedding model and cannot generate text"),
        load_model(path, LoadOptions(), Workload(Purpose.BATCH), Interrupt()),
    ):
        pass
    source = tmp_path / "in.jsonl"
    source.write_text('{"input": "a"}\n')
    job = BatchJob(Source(source), Sink(tmp_path / "out.jsonl"), LineParser(Defaults()), Rules())
    with pytest.raises(UsageError, match="--dry-run is for models that generate text"):
        dry_run(job, None, BatchModel(path, LoadOptions()), print)


@pytest.mark.parametrize(
    ("pooling", "message"), [("RANK", "is a reranker"), ("NONE", "does not say how to make one vector")]
)
def test_encoders_that_make_no_vectors_are_refused(pooling: str, message: str, tmp_path: Path) -> None:
    from gguf import PoolingType

    with pytest.raises(ModelError, match=message):
        run(bert(tmp_path / "other.gguf", PoolingType[pooling]), tmp_path, [{"input": "a"}])
