"""The lines that are not answered yet: which site has each, and which may have killed its site."""

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from ossctl.app.wire.lines import Line

_GROUPS = 8  # that suspects are divided into
_SUSPECT = 2  # deaths of the sites that a line was at, after which it is examined
_PROVEN = 2  # deaths of the sites that a line was alone at, after which it is guilty


@dataclass(frozen=True)
class Waiting:
    """A line to answer; `failure_key` is for its record if it cannot be."""

    index: int
    line: Line
    failure_key: bytes


class Work:
    """Gives lines to sites, those of a lost site first.

    Lines that were at two sites as these died are suspects. They are run in groups with nothing beside them,
    and a group whose site dies is divided, until one line is alone.
    """

    def __init__(self) -> None:
        self._open: dict[int, Waiting] = {}
        self._waiting: deque[Waiting] = deque()
        self._suspects: deque[list[Waiting]] = deque()
        self._deaths: dict[int, int] = {}
        self._deaths_alone: dict[int, int] = {}
        self._at: dict[Hashable, dict[int, Waiting]] = {}
        self._examined: set[Hashable] = set()  # sites that have a group of suspects

    def __len__(self) -> int:
        return len(self._open)

    def add(self, entry: Waiting) -> None:
        self._open[entry.index] = entry
        self._waiting.append(entry)

    @property
    def waiting(self) -> int:
        """The number of lines that no site has, but for suspects."""
        return len(self._waiting)

    def in_flight(self, site: Hashable) -> int:
        """The number of lines that a site has."""
        return len(self._at.get(site, ()))

    def take(self, site: Hashable, most: int, *, may_examine: bool = True) -> Sequence[Waiting]:
        """Lines for a site, so that it has at most `most`.

        A site that `may_examine` gets suspects, once it has no other lines.
        """
        flying = self._at.setdefault(site, {})
        if not flying:
            self._examined.discard(site)
        is_free = not flying and not (self._examined and self._waiting)
        if may_examine and is_free and (group := self._next_group()):
            self._examined.add(site)
            taken = group
        elif site in self._examined or (may_examine and self._suspects and not self._examined):
            return ()
        else:
            taken = list(self._next(most - len(flying)))
        flying.update((entry.index, entry) for entry in taken)
        return taken

    def _next_group(self) -> list[Waiting]:
        while self._suspects:
            if group := [entry for entry in self._suspects.popleft() if entry.index in self._open]:
                return group
        return []

    def _next(self, count: int) -> Iterator[Waiting]:
        while count > 0 and self._waiting:
            entry = self._waiting.popleft()
            if entry.index in self._open:  # not answered by a site that seemed lost
                count -= 1
                yield entry

    def finish(self, index: int) -> Waiting | None:
        """Note a line as answered, by whichever site; None if it already was."""
        self._deaths.pop(index, None)
        self._deaths_alone.pop(index, None)
        for flying in self._at.values():
            flying.pop(index, None)
        return self._open.pop(index, None)

    def lose(self, site: Hashable, *, innocent: bool = False) -> Waiting | None:
        """Take back the lines of a dead site. Returns the line that has killed it, if that is clear.

        If they are `innocent`, they are given out again as if they had not been there.
        """
        lost = [*self._at.pop(site, {}).values()]
        self._examined.discard(site)
        if innocent:
            self._waiting.extendleft(reversed(lost))
            return None
        for entry in lost:
            self._deaths[entry.index] = self._deaths.get(entry.index, 0) + 1
        if len(lost) == 1:
            index = lost[0].index
            self._deaths_alone[index] = self._deaths_alone.get(index, 0) + 1
            if self._deaths_alone[index] >= _PROVEN:
                return self.finish(index)
        suspects = [entry for entry in lost if self._deaths[entry.index] >= _SUSPECT or len(lost) == 1]
        size = -(-len(suspects) // _GROUPS) or 1
        self._suspects.extendleft(
            suspects[start : start + size] for start in reversed(range(0, len(suspects), size))
        )
        known = {entry.index for entry in suspects}
        self._waiting.extendleft(entry for entry in reversed(lost) if entry.index not in known)
        return None
