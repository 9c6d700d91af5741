"""Orders waiting requests so that the engine can reuse the cache for prompts with a common prefix."""

from bisect import bisect_left, insort
from dataclasses import dataclass, field

from ossctl.app.inference.generation import Generation


@dataclass(order=True, frozen=True)
class _Waiting:
    key: bytes  # the prompt's tokens: prompts with a common prefix are neighbours
    number: int
    choices: list[Generation] = field(compare=False)


class PrefixQueue:
    """A queue sorted by prompt. It is emptied in cyclic order, so that no request starves."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._latest = _Waiting(b"", -1, [])
        self._number = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, choices: list[Generation]) -> None:
        """Add a request, given the generations of all its choices."""
        self._number += 1
        key = choices[0].request.prompt.astype(">i4").tobytes()
        insort(self._waiting, _Waiting(key, self._number, choices))

    def pop(self) -> list[Generation]:
        """Remove the next request and return its choices. Raises IndexError if there is none."""
        index = bisect_left(self._waiting, self._latest)
        self._latest = self._waiting.pop(index if index < len(self._waiting) else 0)
        return self._latest.choices
