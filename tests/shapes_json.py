"""The shapes that ship with the package: `python tests/shapes_json.py` writes them, a test compares them."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from llama_oracle import hollow_gpt_oss

import ossctl.data
from ossctl.app.shapes import shape_of_file
from ossctl.planning.shape import LayerShape, ModelShape

PATH = Path(ossctl.data.__file__).with_name("shapes.json")

_HIDDEN, _Q, _KV, _VOCABULARY = 2880, 4096, 512, 201_088

# Bytes of the published files, all their parts together.
_MXFP4 = {
    "ggml-org/gpt-oss-20b-GGUF/gpt-oss-20b-MXFP4.gguf": ("20b", 12_109_566_624),
    "lmstudio-community/gpt-oss-20b-GGUF/gpt-oss-20b-MXFP4.gguf": ("20b", 12_109_565_632),
    "ggml-org/gpt-oss-120b-GGUF/gpt-oss-120b-mxfp4-00001-of-00003.gguf": ("120b", 63_387_346_464),
}
_F16 = {"unsloth/gpt-oss-120b-GGUF/gpt-oss-120b-F16.gguf": ("120b", 65_369_017_728)}
_SIZES = {"20b": (24, 32), "120b": (36, 128)}


def shapes_json() -> str:
    with tempfile.TemporaryDirectory() as folder:
        read = {
            size: shape_of_file(hollow_gpt_oss(Path(folder) / f"{size}.gguf", *dimensions))
            for size, dimensions in _SIZES.items()
        }
    shapes = {key: _named(read[size], size, n_bytes) for key, (size, n_bytes) in _MXFP4.items()}
    shapes |= {key: _in_16_bits(_named(read[size], size, n_bytes)) for key, (size, n_bytes) in _F16.items()}
    lines = [f"{json.dumps(key)}: {json.dumps(shape.as_record())}" for key, shape in shapes.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _named(shape: ModelShape, size: str, n_bytes: int) -> ModelShape:
    return replace(shape, name=f"gpt-oss-{size}", file_bytes=n_bytes)


def _in_16_bits(shape: ModelShape) -> ModelShape:
    """The same with attention, embedding and head in 2 bytes a value instead of Q8_0's 34 for 32."""
    attention = _HIDDEN * (_Q + 2 * _KV + _Q)
    more, table = attention * 2 - attention // 32 * 34, _HIDDEN * _VOCABULARY
    layers = tuple(_with_more(layer, more) for layer in shape.layers)
    wider = table * 2 - table // 32 * 34
    return replace(
        shape,
        layers=layers,
        embedding_bytes=shape.embedding_bytes + wider,
        output_bytes=shape.output_bytes + wider,
    )


def _with_more(layer: LayerShape, n_bytes: int) -> LayerShape:
    return replace(layer, dense_bytes=layer.dense_bytes + n_bytes)


if __name__ == "__main__":
    PATH.write_text(shapes_json(), encoding="utf-8")
