"""Stop strings, which need not end where tokens do."""

from collections.abc import Sequence

from ossctl.text import undecided


class StopStrings:
    """Passes text on up to the first stop string, holding back what may be the start of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.hit = False

    def feed(self, text: str) -> str:
        """Add a piece of text; return as much as certainly precedes any stop string."""
        if self.hit:
            return ""
        self._held += text
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.hit = True
            _, start = min(found)  # the first to end, so that the result does not depend on the pieces
            return self._release(start)
        return self._release(len(self._held) - undecided(self._held, self._stops))

    def close(self) -> str:
        """End the text; return what was held back."""
        return "" if self.hit else self._release(len(self._held))

    def _release(self, length: int) -> str:
        text, self._held = self._held[:length], self._held[length:]
        return text
