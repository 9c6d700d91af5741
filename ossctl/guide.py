"""Guides: what an answer may continue with, by grammars and budgets. Dialects make them, the engine obeys."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

# Tokens that must not be sampled, as an index into a row of logits: bool [n_vocab], or ids.
Mask = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.intp]
Banned = Mask | Ids


class GuideFailed(Exception):
    """A guide cannot continue, which ends its request only."""


class Guide(Protocol):
    """Follows one answer, token by token. Used by one thread at a time."""

    def forced(self) -> Sequence[int]:
        """The only tokens that can come next; empty if there is a choice. Raises GuideFailed."""

    def banned(self) -> Banned | None:
        """Tokens that must not come next, if none are forced; None allows all. Raises GuideFailed."""

    def accept(self, token: int) -> None:
        """Take the next token, sampled or forced. Raises GuideFailed."""


@dataclass(frozen=True)
class TextFormat:
    """The answer must match `source`, a regular expression or a Lark grammar, or be one of `choices`."""

    kind: Literal["regex", "grammar", "choice"]
    source: str = ""
    choices: tuple[str, ...] = ()


class Grammar(Protocol):
    """A guide through a text such as JSON. It knows when the text is complete, not what ends an answer."""

    def forced(self) -> Sequence[int]: ...

    def banned(self) -> Mask:
        """As in `Guide`. The caller may change the mask."""

    def accept(self, token: int) -> None: ...

    @property
    def complete(self) -> bool:
        """Whether the text may end here."""

    @property
    def finished(self) -> bool:
        """Whether the text has to end here."""


class GrammarCompiler(Protocol):
    """Compiles grammars for a model's vocabulary."""

    def json(self, schema: Any, field: str) -> Grammar:
        """A grammar of JSON that fits `schema`, without whitespace between its parts.

        Raises RequestError, which names `field`, for a schema that cannot be enforced.
        """

    def text(self, text_format: TextFormat) -> Grammar:
        """A grammar of the texts in `text_format`.

        Raises RequestError, which names the kind of format, if it cannot be enforced.
        """

    def lark(self, text: str, schemas: Sequence[Any], field: str) -> Grammar:
        """A grammar in Lark's syntax, in which `@schema0@` and so on stand for the JSON schemas.

        Raises RequestError, which names `field`, for schemas that cannot be enforced.
        """
