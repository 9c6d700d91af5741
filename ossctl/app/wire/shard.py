"""A share of an input for one job of several that run at the same time, as in `--shard 3/8`."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Self, TypeVar

from ossctl.errors import UsageError

_T = TypeVar("_T")
_FORM = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


@dataclass(frozen=True)
class Shard:
    """Every `count`-th request, beginning with request `number`; both count from 1.

    In turns, as `split -n r/3/8` does: sizes differ by one request at most, and in an input that is sorted by
    length every shard has some of each length.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `3/8`. Raises UsageError."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise UsageError(f"--shard {text!r} is not of the form I/N, such as 3/8")
        number, count = map(int, found.groups())
        if not 1 <= number <= count:
            raise UsageError(f"--shard {text}: the first number must be from 1 to the second")
        return cls(number, count)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, items: Iterable[_T]) -> Iterator[_T]:
        """Yield the items of this shard."""
        return islice(items, self.number - 1, None, self.count)
