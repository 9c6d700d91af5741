"""Holding an answer to a schema or another grammar, for models with a chat template."""

from collections.abc import Callable, Sequence

from ossctl.guide import Banned, Grammar, GuideFailed


class GrammarGuide:
    """Allows a text of the grammar and then the end token.

    If `after` is set, anything may come first, up to that tag.
    """

    def __init__(
        self, grammar: Grammar, end_id: int, piece: Callable[[int], bytes], *, after: bytes = b""
    ) -> None:
        self._grammar = grammar
        self._end = end_id
        self._piece = piece
        self._after = after
        self._tail = b""

    def forced(self) -> Sequence[int]:
        if self._after:
            return ()
        return (self._end,) if self._grammar.finished else self._grammar.forced()

    def banned(self) -> Banned | None:
        if self._after:
            return None
        banned = self._grammar.banned()
        banned[self._end] = not self._grammar.complete
        return banned

    def accept(self, token: int) -> None:
        if not self._after:
            self._grammar.accept(token)
            return
        self._tail = self._tail[-len(self._after) :] + self._piece(token)
        _, tag, rest = self._tail.partition(self._after)
        if rest.strip():
            raise GuideFailed(f"a token extends beyond {self._after.decode()}: the format cannot be enforced")
        if tag:
            self._after = b""
