"""Prompt lookup: drafting the next tokens of a sequence from an earlier place that reads like its end."""

from ossctl.runtime.base import Tokens

_KEY = 3  # tokens; a place is a candidate if this many before it are equal
_CANDIDATES = 8  # the latest ones
_COMPARED = 32  # tokens before a candidate
_DECAY = 0.95  # of a hit's weight, per token: the rate is that of the last 20 or so
_PRIOR_HITS, _PRIOR_TRIALS = 1.0, 2.0


class PromptLookup:
    """Follows the tokens of a sequence, and the earlier place that the sequence seems to copy.

    The place is kept as long as its tokens are sampled. After that, it is the one of the latest occurrences
    of the last three tokens with the longest match before it, the latest of equals. A token takes O(1).

    Every token is compared with the draft, whether that was decoded or not, so `hit_rate` is known
    before the first draft.
    """

    def __init__(self, tokens: Tokens) -> None:
        self._tokens: list[int] = tokens.tolist()
        self._latest: dict[tuple[int, ...], int] = {}  # the place after the latest occurrence of a key
        self._previous: list[int] = [-1] * (len(self._tokens) + 1)  # the place after the one before
        for end in range(_KEY, len(self._tokens) + 1):
            self._index(end)
        self._place = self._find()
        self._hits, self._trials = _PRIOR_HITS, _PRIOR_TRIALS

    @property
    def hit_rate(self) -> float:
        """The estimated probability that the next draft token is accepted."""
        return self._hits / self._trials

    def append(self, token: int, *, forced: bool = False) -> None:
        """Add the next token. One that was forced says nothing about the rate of hits."""
        place = self._place
        hit = place >= 0 and self._tokens[place] == token
        if place >= 0 and not forced:
            self._hits = _DECAY * self._hits + (1 - _DECAY) * _PRIOR_HITS + hit
            self._trials = _DECAY * self._trials + (1 - _DECAY) * _PRIOR_TRIALS + 1
        self._tokens.append(token)
        self._previous.append(-1)
        if len(self._tokens) >= _KEY:
            self._index(len(self._tokens))
        self._place = place + 1 if hit else self._find()

    def draft(self, max_tokens: int) -> list[int]:
        """The next `max_tokens` tokens if the copy goes on; empty if the sequence resembles no place."""
        if self._place < 0:
            return []
        draft = self._tokens[self._place : self._place + max_tokens]
        return [draft[n % len(draft)] for n in range(max_tokens)]  # a copy of the end repeats itself

    def _index(self, end: int) -> None:
        key = tuple(self._tokens[end - _KEY : end])
        self._previous[end] = self._latest.get(key, -1)
        self._latest[key] = end

    def _find(self) -> int:
        """The place whose continuation is the draft; -1 if there is none."""
        best, longest = -1, 0
        place = self._previous[-1]
        for _ in range(_CANDIDATES):
            if place < 0:
                break
            length = self._match_length(place)
            if length > longest:
                best, longest = place, length
            place = self._previous[place]
        return best

    def _match_length(self, place: int) -> int:
        """How many of the tokens before `place` equal the last ones, up to a limit."""
        tokens, end = self._tokens, len(self._tokens)
        length = _KEY
        while length < min(_COMPARED, place) and tokens[place - 1 - length] == tokens[end - 1 - length]:
            length += 1
        return length
