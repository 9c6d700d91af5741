"""Random weights for models that tests write themselves."""

from pathlib import Path

import numpy as np
from gguf import GGUFWriter


class RandomWeights:
    """Adds tensors to a file, the same ones every time."""

    def __init__(self, writer: GGUFWriter) -> None:
        self._writer = writer
        self._random = np.random.default_rng(0)

    def matrix(self, name: str, rows: int, columns: int) -> None:
        values = self._random.standard_normal((rows, columns), np.float32) / columns**0.5
        self._writer.add_tensor(f"{name}.weight", values)

    def norm(self, name: str, width: int, *, bias: bool = False) -> None:
        self._writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))
        if bias:
            self._writer.add_tensor(f"{name}.bias", np.zeros(width, np.float32))


def written(writer: GGUFWriter, path: Path) -> Path:
    """Write the file and close it."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
