"""What may come next in an answer: grammars and budgets. Dialects make guides, the engine obeys them."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

# Tokens that may not come, as an index into a row of logits: bool [n_vocab], or ids.
Mask = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.intp]
Banned = Mask | Ids


class GuideFailed(Exception):
    """A guide cannot say what may come next. Its request ends alone."""


class Guide(Protocol):
    """Follows one answer, token by token. Used by one thread at a time."""

    def forced(self) -> Sequence[int]:
        """Tokens that come next in any case; none if there is a choice. Raises GuideFailed."""

    def banned(self) -> Banned | None:
        """What the model may not choose, when nothing is forced. Raises GuideFailed."""

    def accept(self, token: int) -> None:
        """`token` came, chosen or forced. Raises GuideFailed."""


class Grammar(Protocol):
    """A guide through a text that can be complete, like JSON. It knows no end of an answer."""

    def forced(self) -> Sequence[int]:
        """See `Guide.forced`."""

    def banned(self) -> Mask:
        """See `Guide.banned`. The mask is the caller's to change."""

    def accept(self, token: int) -> None:
        """See `Guide.accept`."""

    @property
    def complete(self) -> bool:
        """Whether the text may end here."""

    @property
    def finished(self) -> bool:
        """Whether it can only end here."""


class GrammarCompiler(Protocol):
    """Makes grammars over a model's vocabulary."""

    def json(self, schema: Any, field: str) -> Grammar:
        """JSON that fits `schema`, without blanks between its parts.

        Raises RequestError, which names `field`, for a schema that cannot be enforced.
        """
