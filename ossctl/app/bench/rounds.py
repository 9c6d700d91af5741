"""Repeating passes in turns until their means are precise, or the time is up."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

from ossctl.app.bench.estimate import mean_of
from ossctl.app.bench.passes import Pass, Side, Work
from ossctl.runtime.base import DecodeAborted

MIN_ROUNDS = 3
_PATIENCE = 3  # times the effort, after which fewer rounds than MIN_ROUNDS have to do


@dataclass(frozen=True)
class Effort:
    """How long to measure: `seconds` for each kind of work, at most `rounds`."""

    seconds: float
    rounds: int


def repeat(
    work: Work, sides: Mapping[str, Side], effort: Effort, keep_going: Callable[[], bool]
) -> dict[str, list[Pass]]:
    """The passes of each side, as many of one as of another. The first side goes first in every other round.

    Raises what the sides raise; a round that is aborted does not count.
    """
    passes: dict[str, list[Pass]] = {name: [] for name in sides}
    started = perf_counter()
    for number in range(effort.rounds):
        names = [*sides] if number % 2 == 0 else [*sides][::-1]
        try:
            done = {name: sides[name].run(work) for name in names}
        except DecodeAborted:
            break
        if not keep_going():
            break
        for name, each in done.items():
            passes[name].append(each)
        late = perf_counter() - started > effort.seconds
        if number + 1 >= MIN_ROUNDS and (late or all(precise(each) for each in passes.values())):
            break
        if number and perf_counter() - started > _PATIENCE * effort.seconds:
            break
    return passes


def precise(passes: Sequence[Pass]) -> bool:
    """Whether both speeds are known well enough."""
    return all(
        mean_of([phase.speed for phase in phases]).precise
        for phases in ([each.prefill for each in passes], [each.generation for each in passes])
    )
