"""Estimates the prompt and answer tokens of a batch from its input, before a tokenizer is loaded."""

import re
from collections import Counter

from ossctl.app.wire.lines import Line, raw_content
from ossctl.planning.attention import USUAL_TOKENS

_MAX_TOKENS = re.compile(rb'"max_(?:completion_|output_)?tokens": *([0-9]{1,7})')
_BYTES_PER_TOKEN = 4  # of English text


class Sizes:
    """Adds up the sizes of requests and their `max_tokens`."""

    def __init__(self) -> None:
        self._lines = self._bytes = 0
        self._limits: Counter[int] = Counter()

    def add(self, line: Line) -> None:
        text = raw_content(line)
        self._lines += 1
        self._bytes += len(text)
        if found := _MAX_TOKENS.search(text):
            self._limits[min(int(found[1]), USUAL_TOKENS)] += 1

    def likely_tokens(self, max_tokens: int | None) -> tuple[int, int]:
        """The average tokens of a prompt and of an answer; `max_tokens` limits requests that do not."""
        if not self._lines:
            return USUAL_TOKENS, USUAL_TOKENS
        unlimited = self._lines - self._limits.total()
        written = unlimited * min(max_tokens or USUAL_TOKENS, USUAL_TOKENS)
        written += sum(limit * count for limit, count in self._limits.items())
        return self._bytes // self._lines // _BYTES_PER_TOKEN, written // self._lines
