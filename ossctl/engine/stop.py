"""Stop strings, wherever the boundaries of tokens fall."""

from collections.abc import Sequence

from ossctl.text import undecided


class StopStrings:
    """Lets text through up to the first of some strings; holds back what may be the start of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.hit = False

    def feed(self, text: str) -> str:
        """Take the next piece of text; return what is surely before any stop string."""
        if self.hit or not self._stops:
            return "" if self.hit else text
        self._held += text
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.hit = True
            _, start = min(found)  # complete first, so that the pieces in which text comes don't matter
            return self._release(start)
        return self._release(len(self._held) - undecided(self._held, self._stops))

    def close(self) -> str:
        """No more text comes: return what was held back."""
        return "" if self.hit else self._release(len(self._held))

    def _release(self, length: int) -> str:
        text, self._held = self._held[:length], self._held[length:]
        return text
