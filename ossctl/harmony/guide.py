"""Guides that hold an answer to a schema, a tool or a reasoning budget.

They constrain headers, content with a schema, and the end of the budget. Reasoning itself is free.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from ossctl.guide import Banned, Grammar, Ids, Mask
from ossctl.harmony.markers import Markers
from ossctl.harmony.parser import HarmonyParser

_UNLIMITED = 2**63


@dataclass(frozen=True)
class Opening:
    """A header that a message may have, up to `<|message|>`, and what may follow it.

    If `grammar` is None, that is reasoning: any text up to `<|end|>`. Any other content ends the answer.
    """

    header: Sequence[int]
    grammar: Grammar | None
    end: int


@dataclass(frozen=True)
class Alphabet:
    """The format's tokens. `reopen` starts the assistant's next message, `final` is the answer's header."""

    markers: Markers
    special_ids: frozenset[int]
    n_vocab: int
    reopen: Sequence[int]
    final: Sequence[int]


class BudgetGuide:
    """Ends the reasoning after `budget` tokens and opens the answer. Everything else is free.

    `parser` decides what counts as reasoning; no other code may feed it.
    """

    def __init__(self, alphabet: Alphabet, parser: HarmonyParser, budget: int) -> None:
        self._alphabet = alphabet
        self._parser = parser
        self._budget = budget
        self._queue: list[int] = []

    def forced(self) -> Sequence[int]:
        return tuple(self._queue)

    def banned(self) -> None:
        """Ban nothing."""

    def accept(self, token: int) -> None:
        self._parser.feed(token)
        if self._queue:
            self._queue.pop(0)
            return
        if self._parser.in_reasoning:
            self._budget -= token not in self._alphabet.special_ids
            if self._budget <= 0:
                self._queue = [self._alphabet.markers.end, *self._alphabet.reopen, *self._alphabet.final]


class AnyText:
    """The grammar of text that is not empty, such as code."""

    finished = False

    def __init__(self, n_vocab: int) -> None:
        self._n_vocab = n_vocab
        self.complete = False

    def forced(self) -> Sequence[int]:
        return ()

    def banned(self) -> Mask:
        return np.zeros(self._n_vocab, np.bool_)

    def accept(self, _token: int) -> None:
        self.complete = True


class _State(Enum):
    REOPENING = auto()  # between reasoning and the next header
    HEADER = auto()
    REASONING = auto()
    CONTENT = auto()
    OVER = auto()


class FormatGuide:
    """Allows at most one message of reasoning, then one with another of `openings`, which ends the answer."""

    def __init__(self, alphabet: Alphabet, openings: Sequence[Opening], budget: int | None) -> None:
        self._alphabet = alphabet
        self._special: Ids = np.array(sorted(alphabet.special_ids), np.intp)
        self._not_in_reasoning: Ids = self._special[self._special != alphabet.markers.end]
        self._openings = list(openings)  # those that match the header so far
        self._after_reasoning = [opening for opening in openings if opening.grammar is not None]
        self._position = 0  # in the header or in `reopen`
        self._budget = _UNLIMITED if budget is None else budget
        self._state = _State.HEADER

    def forced(self) -> Sequence[int]:
        if self._state is _State.REOPENING:
            return self._alphabet.reopen[self._position :]
        if self._state is _State.HEADER:
            if len(self._openings) == 1:
                return self._openings[0].header[self._position :]
            following = self._following()
            return tuple(following) if len(following) == 1 else ()
        if self._state is _State.REASONING:
            return (self._alphabet.markers.end,) if self._budget <= 0 else ()
        if self._state is _State.CONTENT:
            grammar, end = self._content()
            return (end,) if grammar.finished else grammar.forced()
        return ()

    def banned(self) -> Banned | None:
        if self._state is _State.HEADER:
            header = np.ones(self._alphabet.n_vocab, np.bool_)
            header[list(self._following())] = False
            return header
        if self._state is _State.REASONING:
            return self._not_in_reasoning
        if self._state is _State.CONTENT:
            grammar, end = self._content()
            banned = grammar.banned()
            banned[self._special] = True
            banned[end] = not grammar.complete
            return banned
        return None

    def accept(self, token: int) -> None:
        if self._state is _State.REOPENING:
            self._position += 1
            if self._position == len(self._alphabet.reopen):
                self._state, self._position = _State.HEADER, 0
        elif self._state is _State.HEADER:
            self._accept_in_header(token)
        elif self._state is _State.REASONING:
            self._budget -= 1
            if token == self._alphabet.markers.end:
                self._openings = self._after_reasoning
                self._state, self._position = _State.REOPENING, 0
        elif self._state is _State.CONTENT:
            grammar, end = self._content()
            if token == end:
                self._state = _State.OVER
            else:
                grammar.accept(token)

    def _accept_in_header(self, token: int) -> None:
        self._openings = [o for o in self._openings if o.header[self._position] == token]
        self._position += 1
        chosen = self._openings[0]
        if self._position == len(chosen.header):
            self._state = _State.REASONING if chosen.grammar is None else _State.CONTENT

    def _following(self) -> set[int]:
        return {opening.header[self._position] for opening in self._openings}

    def _content(self) -> tuple[Grammar, int]:
        chosen = self._openings[0]
        if chosen.grammar is None:
            raise ValueError("reasoning has no grammar")
        return chosen.grammar, chosen.end
