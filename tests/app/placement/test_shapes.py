"""Shapes of models: from files, shards, headers, and those that the package ships."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter

from ossctl.app.placement.shapes import known_shapes, shape_of_file, shape_of_headers, shipped_shape
from ossctl.errors import ModelError
from ossctl.hub.catalogue import catalogue
from ossctl.hub.reference import HubReference
from ossctl.runtime.gguf import read_header, read_header_start
from tests.support.models import smollm2
from tools.shapes_json import PATH, shapes_json


def test_the_shapes_that_ship_are_those_of_the_tensors() -> None:
    assert PATH.read_text("utf-8") == shapes_json(), "run `python -m tools.shapes_json`"


def test_shipped_shapes_account_for_all_of_the_published_files_but_their_headers() -> None:
    for key, shape in known_shapes().items():
        assert 12_900_000 < shape.file_bytes - shape.weight_bytes < 13_100_000, key


def test_the_gpt_oss_models_of_the_catalogue_have_shipped_shapes() -> None:
    shape = shipped_shape(catalogue().entry("20b").variant.reference)
    assert shape is not None
    assert (shape.n_layers, shape.n_expert, shape.n_ctx_train) == (24, 32, 131_072)
    assert [layer.window for layer in shape.layers[:4]] == [128, 0, 128, 0]
    larger = shipped_shape(catalogue().entry("120b").variant.reference)
    assert larger is not None
    assert larger.n_layers == 36


@pytest.mark.parametrize(
    "reference",
    [
        "hf:ggml-org/gpt-oss-20b-GGUF:gpt-oss-20b-mxfp4.gguf@0123456",
        "hf:unsloth/gpt-oss-120b-GGUF",
        "hf:unsloth/gpt-oss-120b-GGUF:Q4_K_M",
        "hf:org/other:gpt-oss-20b-mxfp4.gguf",
    ],
)
def test_a_file_that_may_differ_has_no_shipped_shape(reference: str) -> None:
    assert shipped_shape(HubReference.parse(reference)) is None


def test_the_shape_of_a_file_of_another_architecture() -> None:
    shape = shape_of_file(smollm2())
    assert shape.architecture == "llama"
    assert shape.tied_bytes > 0
    assert shape.n_expert == 0
    assert {layer.k_width for layer in shape.layers} == {192}
    assert {layer.window for layer in shape.layers} == {0}
    assert shape.weight_bytes == sum(tensor.n_bytes for tensor in read_header(smollm2()).tensors)


def test_the_header_alone_gives_the_shape(byte_model_path: Path) -> None:
    data = byte_model_path.read_bytes()
    n_bytes = min(tensor.offset for tensor in read_header(byte_model_path).tensors)
    whole = shape_of_file(byte_model_path)
    header = read_header_start(data[:n_bytes])
    assert header is not None
    assert shape_of_headers([header], whole.name, len(data)) == whole
    assert read_header_start(data[: n_bytes // 2]) is None
    assert read_header_start(data[:2]) is None


def test_the_start_of_another_file_is_a_model_error() -> None:
    with pytest.raises(ModelError, match="not a GGUF file"):
        read_header_start(b"<html>not found")


def write_header(path: Path, changed: Mapping[str, object]) -> None:
    """A model of two layers with 8 experts, 2 of them used; None leaves a key out."""
    counts = {
        "block_count": 2, "context_length": 64, "embedding_length": 64, "attention.head_count": 2,
        "feed_forward_length": 64, "expert_count": 8, "expert_used_count": 2, "vocab_size": 16,
    }  # fmt: skip
    writer = GGUFWriter(str(path), "llama")
    for key, value in {**{f"llama.{name}": count for name, count in counts.items()}, **changed}.items():
        if isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, float):
            writer.add_float64(key, value)
        elif isinstance(value, int):
            writer.add_int64(key, value)
    for layer in range(2):
        writer.add_tensor(f"blk.{layer}.ffn_up_exps.weight", np.zeros((8, 64, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def split(path: Path, folder: Path, n_parts: int) -> Path:
    """Write `n_parts` shards with the tensors of `path`, all zeros, and return the first."""
    tensors = read_header(path).tensors
    for part in range(n_parts):
        name = folder / f"m-{part + 1:05d}-of-{n_parts:05d}.gguf"
        writer = GGUFWriter(str(name), "llama")
        writer.add_uint16("split.count", n_parts)
        writer.add_uint16("split.no", part)
        if part == 0:
            writer.add_block_count(30)
            writer.add_context_length(8192)
            writer.add_embedding_length(576)
            writer.add_head_count(9)
            writer.add_head_count_kv(3)
            writer.add_feed_forward_length(1536)
            writer.add_token_list(["a"])
        for tensor in tensors[part::n_parts]:
            writer.add_tensor(tensor.name, np.zeros(tensor.n_bytes, np.int8))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return folder / f"m-00001-of-{n_parts:05d}.gguf"


def test_the_shape_includes_all_shards(tmp_path: Path) -> None:
    first = split(smollm2(), tmp_path, 3)
    shape = shape_of_file(first)
    whole = shape_of_file(smollm2())
    assert shape.weight_bytes == whole.weight_bytes
    assert shape.layers == whole.layers
    assert shape.file_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_a_later_shard_is_a_model_error(tmp_path: Path) -> None:
    first = split(smollm2(), tmp_path, 2)
    with pytest.raises(ModelError, match="not the first of 2 parts"):
        shape_of_file(first.with_name("m-00002-of-00002.gguf"))


def test_the_error_for_a_missing_shard_names_it(tmp_path: Path) -> None:
    first = split(smollm2(), tmp_path, 2)
    first.with_name("m-00002-of-00002.gguf").unlink()
    with pytest.raises(ModelError, match="00002-of-00002"):
        shape_of_file(first)


@pytest.mark.parametrize("count", [3, 4_000_000_000, "two"])
def test_a_count_of_shards_that_the_name_does_not_have_is_a_model_error(
    tmp_path: Path, count: int | str
) -> None:
    path = tmp_path / "m-00001-of-00002.gguf"
    write_header(path, {"split.count": count})
    with pytest.raises(ModelError, match=f"not the first of {count} parts"):
        shape_of_file(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("expert_used_count", None),
        ("expert_used_count", math.inf),
        ("expert_used_count", math.nan),
        ("expert_used_count", 4_000_000),
        ("expert_used_count", 9),
        ("expert_used_count", [-1, 2]),
        ("expert_count", None),
        ("expert_count", 4_000_000),
        ("attention.head_count", -1),
        ("attention.key_length", math.inf),
        ("feed_forward_length", [math.nan]),
        ("attention.sliding_window", 1e300),
        ("context_length", math.inf),
    ],
)
def test_a_number_that_makes_no_sense_is_a_model_error_that_names_it(
    tmp_path: Path, key: str, value: float | list[float] | None
) -> None:
    write_header(tmp_path / "x.gguf", {f"llama.{key}": value})
    with pytest.raises(ModelError, match=f"no valid {key} for"):
        shape_of_file(tmp_path / "x.gguf")


def test_a_header_without_layers_is_a_model_error(tmp_path: Path) -> None:
    writer = GGUFWriter(str(tmp_path / "x.gguf"), "llama")
    writer.add_context_length(8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match="no valid block_count"):
        shape_of_file(tmp_path / "x.gguf")
