"""Requests that wait for the engine, ordered so that prompts which begin alike meet in its cache."""

from bisect import bisect_left, insort
from dataclasses import dataclass, field

from ossctl.app.inference.generation import Generation


@dataclass(order=True, frozen=True)
class _Waiting:
    key: bytes  # of the prompt's tokens, so that those with a common beginning are neighbours
    number: int
    generations: list[Generation] = field(compare=False)


class PrefixQueue:
    """Gives requests by their prompts, from where it was on upwards and then from the lowest again.

    So neighbours follow each other, and every request has its turn.
    """

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._latest = _Waiting(b"", -1, [])
        self._number = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, generations: list[Generation]) -> None:
        """Take in the choices of one request."""
        self._number += 1
        key = generations[0].request.prompt.astype(">i4").tobytes()
        insort(self._waiting, _Waiting(key, self._number, generations))

    def take(self) -> list[Generation]:
        """The next request's choices. Raises IndexError if none waits."""
        place = bisect_left(self._waiting, self._latest)
        self._latest = self._waiting.pop(place if place < len(self._waiting) else 0)
        return self._latest.generations
