"""Detecting an answer that repeats itself endlessly."""

from array import array

import numpy as np

# A loop is a tail of at least _MIN_TOKENS that repeats one sequence exactly, at least _MIN_REPEATS times.
# Lists and tables that repeat on purpose stay below that. A model that gets this far does not get out again.
_MIN_TOKENS = 1024
_MIN_REPEATS = 4
_MAX_PERIOD = 1024

_CHECK_INTERVAL = 128  # tokens; a check takes some 50 µs, but a few ms in tails that nearly loop
_QUICK_CHECK = 16  # tokens to compare before comparing all


class RepetitionDetector:
    """Follows an answer token by token and detects when it has become a loop."""

    def __init__(self) -> None:
        self._tokens = array("i")

    def append(self, token: int) -> bool:
        """Add the next token; return whether the answer ends in a loop. Checks every 128 tokens only."""
        self._tokens.append(token)
        count = len(self._tokens)
        return count % _CHECK_INTERVAL == 0 and count >= _MIN_TOKENS and self._loops()

    def _loops(self) -> bool:
        longest = max(_MIN_TOKENS, _MIN_REPEATS * _MAX_PERIOD) + _MAX_PERIOD
        tail = np.frombuffer(self._tokens, np.intc)[-longest:]
        before = tail[-2 : -2 - _MAX_PERIOD : -1]  # backwards from the last token but one
        for period in np.flatnonzero(before[: len(tail) - _QUICK_CHECK] == tail[-1]) + 1:
            if not (tail[-_QUICK_CHECK:] == tail[-_QUICK_CHECK - period : -period]).all():
                continue
            span = max(_MIN_TOKENS, _MIN_REPEATS * int(period)) - int(period)
            shifted = tail[-span - period : -period]
            if len(shifted) == span and (tail[-span:] == shifted).all():
                return True
        return False
