"""A guide that holds calls to the functions that are offered, and to the schemas of strict ones."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ossctl.guide import Banned, Grammar, Guide, Ids
from ossctl.harmony.guide import Alphabet
from ossctl.harmony.headers import Node, TokenIndex


class CallGuide:
    """Keeps every header within `headers`. Content is free, except for the arguments of `grammars`.

    An answer may have any number of messages. `grammars` are those of strict functions, by name.
    """

    def __init__(
        self,
        alphabet: Alphabet,
        index: TokenIndex,
        headers: Node,
        piece: Callable[[int], bytes],
        grammars: Mapping[str, Grammar],
    ) -> None:
        self._alphabet = alphabet
        self._index = index
        self._headers = headers
        self._piece = piece
        self._grammars = grammars
        self._special: Ids = np.array(sorted(alphabet.special_ids), np.intp)
        self._node = headers  # in the header, or its end if `_in_content`
        self._in_content = False
        self._reopening: Sequence[int] = ()  # what is left of the next message's start

    def forced(self) -> Sequence[int]:
        if self._reopening:
            return self._reopening
        if (grammar := self._grammar) is not None:
            return (self._alphabet.markers.call,) if grammar.finished else grammar.forced()
        return ()

    def banned(self) -> Banned:
        if not self._in_content:
            return self._all_but(self._continuing())
        if (grammar := self._grammar) is not None:
            banned = grammar.banned()
            banned[self._special] = True
            banned[self._alphabet.markers.call] = not grammar.complete
            return banned
        return self._special[~np.isin(self._special, self._ends())]

    def accept(self, token: int) -> None:
        if self._reopening:
            self._reopening = self._reopening[1:]
        elif not self._in_content:
            self._accept_in_header(token)
        elif token in self._ends():
            self._end_message(token)
        elif (grammar := self._grammar) is not None:
            grammar.accept(token)

    @property
    def _grammar(self) -> Grammar | None:
        return self._grammars.get(self._node.tool) if self._in_content else None

    def _accept_in_header(self, token: int) -> None:
        for marker, node in self._node.markers.items():
            if token == getattr(self._alphabet.markers, marker):
                self._node = node
                self._in_content = marker == "message"
                return
        self._node = self._node.after(self._piece(token))

    def _end_message(self, token: int) -> None:
        if token == self._alphabet.markers.end:
            self._node, self._in_content = self._headers, False
            self._reopening = tuple(self._alphabet.reopen)
        else:
            self._node = Node()  # the answer is over

    def _continuing(self) -> list[int]:
        markers = [getattr(self._alphabet.markers, marker) for marker in self._node.markers]
        return [*markers, *self._index.within(self._node)]

    def _ends(self) -> list[int]:
        return [getattr(self._alphabet.markers, end) for end in self._node.ends]

    def _all_but(self, allowed: Sequence[int]) -> Banned:
        banned = np.ones(self._alphabet.n_vocab, np.bool_)
        banned[list(allowed)] = False
        return banned


class BothGuides:
    """Obeys a guide that only forces tokens, and another one that allows all of these."""

    def __init__(self, forcing: Guide, guide: Guide) -> None:
        self._forcing = forcing
        self._guide = guide

    def forced(self) -> Sequence[int]:
        return self._forcing.forced() or self._guide.forced()

    def banned(self) -> Banned | None:
        return self._guide.banned()

    def accept(self, token: int) -> None:
        self._forcing.accept(token)
        self._guide.accept(token)
