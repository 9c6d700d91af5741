"""The shapes that ship with the package: `python -m tools.shapes_json` writes them, a test compares them."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import ossctl.data
from ossctl.app.placement.shapes import shape_of_file
from ossctl.planning.shape import ModelShape
from tests.support.gpt_oss_shapes import hollow_gpt_oss

PATH = Path(ossctl.data.__file__).with_name("shapes.json")

# Bytes of the published files, all their parts together.
_MXFP4 = {
    "ggml-org/gpt-oss-20b-GGUF/gpt-oss-20b-MXFP4.gguf": ("20b", 12_109_566_624),
    "lmstudio-community/gpt-oss-20b-GGUF/gpt-oss-20b-MXFP4.gguf": ("20b", 12_109_565_632),
    "ggml-org/gpt-oss-120b-GGUF/gpt-oss-120b-mxfp4-00001-of-00003.gguf": ("120b", 63_387_346_464),
}
_SIZES = {"20b": (24, 32), "120b": (36, 128)}


def shapes_json() -> str:
    with tempfile.TemporaryDirectory() as folder:
        read = {
            size: shape_of_file(hollow_gpt_oss(Path(folder) / f"{size}.gguf", *dimensions))
            for size, dimensions in _SIZES.items()
        }
    shapes = {key: _named(read[size], size, n_bytes) for key, (size, n_bytes) in _MXFP4.items()}
    lines = [f"{json.dumps(key)}: {json.dumps(shape.as_record())}" for key, shape in shapes.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _named(shape: ModelShape, size: str, n_bytes: int) -> ModelShape:
    return replace(shape, name=f"gpt-oss-{size}", file_bytes=n_bytes)


if __name__ == "__main__":
    PATH.write_text(shapes_json(), encoding="utf-8")
