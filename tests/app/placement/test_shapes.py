"""Shapes of models: from files, split files, beginnings of files, and those that come with the package."""

from pathlib import Path

import pytest
from gguf import GGUFWriter

from ossctl.app.placement.shapes import known_shapes, shape_of_file, shape_of_starts, shipped_shape
from ossctl.errors import ModelError
from ossctl.hub.catalogue import catalogue
from ossctl.hub.reference import HubReference
from ossctl.runtime.gguf import read_header
from tests.support.models import smollm2
from tools.shapes_json import PATH, shapes_json


def test_the_shapes_that_ship_are_those_of_the_tensors() -> None:
    assert PATH.read_text("utf-8") == shapes_json(), "run `python -m tools.shapes_json`"


def test_the_shipped_shapes_leave_the_published_files_room_for_their_headers_only() -> None:
    for key, shape in known_shapes().items():
        assert 12_900_000 < shape.file_bytes - shape.weight_bytes < 13_100_000, key


def test_the_catalogues_gpt_oss_is_known_without_a_file() -> None:
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
def test_what_may_be_another_file_has_no_shipped_shape(reference: str) -> None:
    assert shipped_shape(HubReference.parse(reference)) is None


def test_a_file_of_another_architecture_is_understood() -> None:
    shape = shape_of_file(smollm2())
    assert shape.architecture == "llama"
    assert shape.tied_bytes > 0
    assert shape.n_expert == 0
    assert {layer.k_width for layer in shape.layers} == {192}
    assert {layer.window for layer in shape.layers} == {0}
    assert shape.weight_bytes == sum(tensor.n_bytes for tensor in read_header(smollm2()).tensors)


def test_the_beginning_of_a_file_is_enough(byte_model_path: Path) -> None:
    data = byte_model_path.read_bytes()
    header = min(tensor.offset for tensor in read_header(byte_model_path).tensors)
    whole = shape_of_file(byte_model_path)
    assert shape_of_starts([data[:header]], whole.name, len(data)) == whole
    assert shape_of_starts([data[: header // 2]], whole.name, len(data)) is None
    assert shape_of_starts([data[:2]], whole.name, len(data)) is None


def test_a_beginning_of_something_else_is_a_model_error() -> None:
    with pytest.raises(ModelError, match="not a GGUF file"):
        shape_of_starts([b"<html>not found"], "x", 15)


def split(path: Path, folder: Path, n_parts: int) -> Path:
    """The header of `path` without data in so many parts, the tensors divided among them."""
    import numpy as np

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


def test_all_parts_of_a_split_model_count(tmp_path: Path) -> None:
    first = split(smollm2(), tmp_path, 3)
    shape = shape_of_file(first)
    whole = shape_of_file(smollm2())
    assert shape.weight_bytes == whole.weight_bytes
    assert shape.layers == whole.layers
    assert shape.file_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_a_later_part_is_not_the_model(tmp_path: Path) -> None:
    first = split(smollm2(), tmp_path, 2)
    with pytest.raises(ModelError, match="not the first of 2 parts"):
        shape_of_file(first.with_name("m-00002-of-00002.gguf"))


def test_a_missing_part_is_said(tmp_path: Path) -> None:
    first = split(smollm2(), tmp_path, 2)
    first.with_name("m-00002-of-00002.gguf").unlink()
    with pytest.raises(ModelError, match="00002-of-00002"):
        shape_of_file(first)


def test_a_header_without_layers_is_a_model_error(tmp_path: Path) -> None:
    writer = GGUFWriter(str(tmp_path / "x.gguf"), "llama")
    writer.add_context_length(8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match="no usable block_count"):
        shape_of_file(tmp_path / "x.gguf")
