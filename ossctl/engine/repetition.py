"""Noticing that an answer goes round in circles."""

from array import array

import numpy as np

# A circle is a tail of at least so many tokens that repeats a piece at least so often, exactly. Lists and
# tables that are meant to repeat themselves stay below; a model that is caught never gets out.
_MIN_TOKENS = 1024
_MIN_REPEATS = 4
_MAX_PERIOD = 1024

_EVERY = 128  # tokens from one look to the next: a look takes some 50 µs, a few ms in tails that nearly loop
_GLANCE = 16  # tokens that are compared before all are


class RepetitionDetector:
    """Takes an answer's tokens; says when their end has become a circle."""

    def __init__(self) -> None:
        self._tokens = array("i")

    def append(self, token: int) -> bool:
        """Take the next token; whether the answer is caught in a circle."""
        self._tokens.append(token)
        count = len(self._tokens)
        return count % _EVERY == 0 and count >= _MIN_TOKENS and self._circles()

    def _circles(self) -> bool:
        needed = max(_MIN_TOKENS, _MIN_REPEATS * _MAX_PERIOD) + _MAX_PERIOD
        tail = np.frombuffer(self._tokens, np.intc)[-needed:]
        before = tail[-2 : -2 - _MAX_PERIOD : -1]  # backwards from the last token but one
        for period in np.flatnonzero(before[: len(tail) - _GLANCE] == tail[-1]) + 1:
            if not (tail[-_GLANCE:] == tail[-_GLANCE - period : -period]).all():
                continue
            span = max(_MIN_TOKENS, _MIN_REPEATS * int(period)) - int(period)
            shifted = tail[-span - period : -period]
            if len(shifted) == span and (tail[-span:] == shifted).all():
                return True
        return False
