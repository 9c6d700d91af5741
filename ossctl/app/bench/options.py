"""What to measure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ossctl.app.bench.rounds import Effort
from ossctl.app.placement.load_options import LoadOptions


@dataclass(frozen=True)
class Extent:
    """How much to measure: prompt lengths, numbers of sequences, generated tokens, repetitions."""

    lengths: tuple[int, ...]
    sequences: tuple[int, ...]
    generated: int
    effort: Effort
    starts: int  # of the program, for each kind of wait
    slowest: float  # seconds of a pass, beyond which longer ones are left out


QUICK = Extent((128, 512, 2048), (1, 2, 4, 8, 16, 32), 32, Effort(3.0, 30), 3, 2.0)
FULL = Extent(
    (128, 512, 2048, 8192, 32_768), (1, 2, 4, 8, 16, 32, 64, 128, 256), 64, Effort(30.0, 100), 7, 60.0
)


@dataclass(frozen=True)
class BenchOptions:
    """The model, by its name and first file, and what to measure of it."""

    name: str
    path: Path
    loading: LoadOptions
    extent: Extent
    tune: bool = False


class Watcher(Protocol):
    """Shows what happens."""

    def remarks(self, remarks: Sequence[str]) -> None:
        """What the user should know about the model that has been loaded."""

    def expects(self, seconds: float) -> None:
        """About how long it will take from now on."""

    def step(self, what: str) -> None:
        """What is measured next."""
