"""Guides for models with a chat template: grammars, reasoning before them, and calls within a text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from ossctl.guide import Banned, Grammar, Guide, GuideFailed, Ids, Mask


class GrammarGuide:
    """Allows a text of the grammar and then the end token."""

    def __init__(self, grammar: Grammar, end_id: int) -> None:
        self._grammar = grammar
        self._end = end_id

    def forced(self) -> Sequence[int]:
        return (self._end,) if self._grammar.finished else self._grammar.forced()

    def banned(self) -> Mask:
        banned = self._grammar.banned()
        banned[self._end] = not self._grammar.complete
        return banned

    def accept(self, token: int) -> None:
        self._grammar.accept(token)


class EitherGrammar:
    """The texts of several grammars."""

    def __init__(self, grammars: Sequence[Grammar]) -> None:
        self._grammars = list(grammars)  # those that match so far

    def forced(self) -> Sequence[int]:
        return self._grammars[0].forced() if len(self._grammars) == 1 else ()

    def banned(self) -> Mask:
        banned: Mask = np.logical_and.reduce([grammar.banned() for grammar in self._grammars])
        return banned

    def accept(self, token: int) -> None:
        if len(self._grammars) > 1:
            self._grammars = [grammar for grammar in self._grammars if not grammar.banned()[token]]
        for grammar in self._grammars:
            grammar.accept(token)

    @property
    def complete(self) -> bool:
        return any(grammar.complete for grammar in self._grammars)

    @property
    def finished(self) -> bool:
        return all(grammar.finished for grammar in self._grammars)


@dataclass(frozen=True)
class ReasoningMarks:
    """The texts around reasoning, with their tokens, and the tokens that end an answer."""

    start: bytes
    start_ids: list[int]
    end: bytes
    end_ids: list[int]
    answer_ends: frozenset[int]


class _State(Enum):
    BEFORE = auto()  # reasoning may start
    REASONING = auto()
    AFTER = auto()


class ReasoningGuide:
    """Leaves reasoning free and closes it after `budget` tokens, if there is a budget.

    `make_rest` makes the guide for all that is not reasoning, or None if that is free. The prompt has opened
    the reasoning if `opened`; otherwise the model may start with it.
    """

    def __init__(
        self,
        marks: ReasoningMarks,
        piece: Callable[[int], bytes],
        make_rest: Callable[[], Guide | None],
        *,
        opened: bool,
        budget: int | None,
    ) -> None:
        self._marks = marks
        self._piece = piece
        self._make_rest = make_rest
        self._rest = make_rest()
        self._fits = True  # whether the rest's guide allows the answer so far
        self._budget = budget
        self._ends: Ids = np.array(sorted(marks.answer_ends), np.intp)
        self._state = _State.REASONING if opened else _State.BEFORE
        self._seen: list[int] = []  # before the reasoning, or of what closes it
        self._tail = b""

    def forced(self) -> Sequence[int]:
        if self._state is _State.REASONING:
            return self._marks.end_ids[len(self._seen) :] if self._budget == 0 else ()
        if self._state is _State.BEFORE:
            return () if self._fits else self._marks.start_ids[len(self._seen) :]
        return self._rest.forced() if self._rest else ()

    def banned(self) -> Banned | None:
        """An answer that has to fit a grammar does not end within its reasoning."""
        if self._state is _State.REASONING:
            return self._ends if isinstance(self._rest, GrammarGuide) else None
        banned = self._rest.banned() if self._rest else None
        count = len(self._seen)
        opening = self._marks.start_ids[count : count + 1]
        if self._state is _State.BEFORE and isinstance(self._rest, GrammarGuide) and banned is not None:
            banned[list(opening if self._seen == self._marks.start_ids[:count] else ())] = False
        return banned

    def accept(self, token: int) -> None:
        if self._state is _State.REASONING:
            self._reason(token)
            return
        if isinstance(self._rest, GrammarGuide) and self._state is _State.BEFORE:
            self._fits = self._fits and not self._rest.banned()[token]
        if self._rest and self._fits:
            self._rest.accept(token)
        if self._state is _State.BEFORE:
            self._begin(token)

    def _begin(self, token: int) -> None:
        self._seen.append(token)
        text = b"".join(map(self._piece, self._seen)).lstrip()
        if text.startswith(self._marks.start):
            self._state, self._seen = _State.REASONING, []
            self._rest, self._fits = self._make_rest(), True
        elif not self._marks.start.startswith(text):
            self._state = _State.AFTER

    def _reason(self, token: int) -> None:
        if self._budget == 0:
            self._seen.append(token)
        elif self._budget is not None:
            self._budget -= 1
        self._tail = self._tail[-len(self._marks.end) :] + self._piece(token)
        _, tag, rest = self._tail.partition(self._marks.end)
        if rest.strip() and isinstance(self._rest, GrammarGuide):
            tag_text = self._marks.end.decode()
            raise GuideFailed(f"a token extends beyond {tag_text}: the format cannot be enforced")
        if tag:
            self._state = _State.AFTER


class CallsGuide:
    """Leaves a text free up to one of `triggers`, and holds the calls that start there to a grammar."""

    def __init__(
        self,
        triggers: Sequence[str],
        calls: Callable[[], GrammarGuide],
        piece: Callable[[int], bytes],
        tokenize: Callable[[str], list[int]],
    ) -> None:
        self._triggers = [trigger.encode() for trigger in triggers]
        self._longest = max(map(len, self._triggers), default=0)
        self._make = calls
        self._piece = piece
        self._tokenize = tokenize
        self._tail = b""
        self._calls: GrammarGuide | None = None

    def forced(self) -> Sequence[int]:
        return self._calls.forced() if self._calls else ()

    def banned(self) -> Mask | None:
        return self._calls.banned() if self._calls else None

    def accept(self, token: int) -> None:
        if self._calls:
            self._calls.accept(token)
            return
        self._tail = self._tail[-self._longest :] + self._piece(token)
        at = min((at for trigger in self._triggers if (at := self._tail.find(trigger)) >= 0), default=-1)
        if at >= 0:
            self._calls = self._started(self._tail[at:].decode("utf-8", "replace"))
            self._tail = b""

    def _started(self, text: str) -> GrammarGuide | None:
        """A guide that has accepted `text`; None if no call starts with it."""
        calls = self._make()
        try:
            for token in self._tokenize(text):
                calls.accept(token)
        except GuideFailed:
            return None
        return calls


class NoCallsGuide:
    """Keeps the markers that start calls from being completed; all else is free."""

    def __init__(self, markers: Sequence[Sequence[int]]) -> None:
        self._markers = [tuple(marker) for marker in markers if marker]
        self._longest = max(map(len, self._markers), default=1) - 1
        self._last: tuple[int, ...] = ()

    def forced(self) -> Sequence[int]:
        return ()

    def banned(self) -> Ids | None:
        """The last token of each marker that is complete but for it."""
        found = {ids[-1] for ids in self._markers if self._last[len(self._last) - len(ids) + 1 :] == ids[:-1]}
        return np.array(sorted(found), np.intp) if found else None

    def accept(self, token: int) -> None:
        self._last = (*self._last, token)[-self._longest :] if self._longest else ()
