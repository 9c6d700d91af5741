"""The models that a device is tried with, written where they are needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ossctl.data
from tests.support.gpt_oss_shapes import SIZES, Contents, hollow_gpt_oss
from tests.support.models import numbered_gpt_oss

NAMES = ("nano", "tiny", *SIZES)
_FILLED = "20b"  # the other would take 61 GB of disk


@dataclass(frozen=True)
class ModelFile:
    """A model by its name here. `small` ones are read within a second or two.

    A CPU computes the experts of one that is not `whole` too slowly to be waited for.
    """

    name: str
    path: Path
    small: bool
    whole: bool

    def write(self) -> None:
        """Write the file if it is not there yet: gpt-oss's architecture, or its shapes, at random."""
        if self.path.exists():
            return
        if self.small:
            numbered_gpt_oss(self.path.parent)
            return
        unfinished = self.path.with_suffix(".part")
        try:
            contents = Contents.ALL if self.whole else Contents.NO_EXPERTS
            hollow_gpt_oss(unfinished, *SIZES[self.name], contents)
            unfinished.rename(self.path)
        finally:
            unfinished.unlink(missing_ok=True)


def model_files(names: Sequence[str], folder: Path, *, filled: bool) -> tuple[ModelFile, ...]:
    """The models of these names; what is no name is a GGUF file. Raises ValueError if there is none."""
    return tuple(_model_file(name, folder, filled=filled) for name in names)


def _model_file(name: str, folder: Path, *, filled: bool) -> ModelFile:
    if name in SIZES:
        whole = filled and name == _FILLED
        return ModelFile(name, folder / f"{name}{'-filled' if whole else ''}.gguf", small=False, whole=whole)
    if name == "tiny":
        return ModelFile(name, folder / "tiny.gguf", small=True, whole=True)
    path = Path(ossctl.data.__file__).with_name("nano.gguf") if name == "nano" else Path(name).resolve()
    if not path.is_file():
        raise ValueError(f"there is no model {name}: {', '.join(NAMES)}, or a GGUF file")
    return ModelFile(path.stem, path, small=path.stat().st_size < 1 << 30, whole=True)
