"""How much a batch will read and write, guessed from its input before the model is known."""

import re
from collections import Counter

from ossctl.app.wire.lines import Line, asked_by
from ossctl.planning.attention import USUAL_TOKENS

_MAX_TOKENS = re.compile(rb'"max_(?:completion_|output_)?tokens": *([0-9]{1,7})')
_USUAL_BYTES = 4  # of a token of English


class Sizes:
    """How long the requests are, and what limits the answers of those that say so themselves."""

    def __init__(self) -> None:
        self._lines = self._bytes = 0
        self._limits: Counter[int] = Counter()

    def add(self, line: Line) -> None:
        """Take a request into account."""
        text = asked_by(line)
        self._lines += 1
        self._bytes += len(text)
        if found := _MAX_TOKENS.search(text):
            self._limits[min(int(found[1]), USUAL_TOKENS)] += 1

    def likely_tokens(self, max_tokens: int | None) -> tuple[int, int]:
        """Of a prompt and of an answer on average, where `max_tokens` limits those that say nothing."""
        if not self._lines:
            return USUAL_TOKENS, USUAL_TOKENS
        others = (self._lines - self._limits.total()) * min(max_tokens or USUAL_TOKENS, USUAL_TOKENS)
        written = others + sum(limit * count for limit, count in self._limits.items())
        return self._bytes // self._lines // _USUAL_BYTES, written // self._lines
