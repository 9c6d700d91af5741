"""Holding an answer to a JSON schema, for models that have no format of their own around it."""

from collections.abc import Callable, Sequence

from ossctl.guide import Banned, Grammar, GuideFailed


class JsonGuide:
    """JSON and then the end; before it, if `after` is not empty, anything up to that tag."""

    def __init__(
        self, grammar: Grammar, end_id: int, piece: Callable[[int], bytes], *, after: bytes = b""
    ) -> None:
        self._grammar = grammar
        self._end = end_id
        self._piece = piece
        self._after = after
        self._tail = b""

    def forced(self) -> Sequence[int]:
        """See `Guide.forced`."""
        if self._after:
            return ()
        return (self._end,) if self._grammar.finished else self._grammar.forced()

    def banned(self) -> Banned | None:
        """See `Guide.banned`."""
        if self._after:
            return None
        banned = self._grammar.banned()
        banned[self._end] = not self._grammar.complete
        return banned

    def accept(self, token: int) -> None:
        """See `Guide.accept`."""
        if not self._after:
            self._grammar.accept(token)
            return
        self._tail = self._tail[-len(self._after) :] + self._piece(token)
        _, tag, behind = self._tail.partition(self._after)
        if behind.strip():
            raise GuideFailed(f"a token of the model's reaches beyond {self._after.decode()}")
        if tag:
            self._after = b""
