"""A question with its right answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random
from string import ascii_uppercase
from typing import Any

MAX_CHOICES = len(ascii_uppercase)


class GraderName(StrEnum):
    """How an answer is compared with the right one."""

    CHOICE = "choice"
    NUMBER = "number"
    EXACT = "exact"
    REGEX = "regex"
    SCHEMA = "schema"
    PROGRAM = "program"
    MODEL = "model"


@dataclass(frozen=True)
class Question:
    """A question; any of `targets` is right. With choices, these are their letters, "A" for the first.

    `schema` is for the grader of that name, `tolerance` is the largest difference of a number.
    `metadata` are the fields that have no meaning here.
    """

    id: str
    text: str
    grader: GraderName
    targets: tuple[str, ...]
    choices: tuple[str, ...] = ()
    system: str = ""
    schema: Mapping[str, Any] | None = None
    tolerance: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def shuffled(self, seed: int) -> "Question":
        """The question with its choices in an order that depends on nothing but `seed` and its id."""
        if not self.choices:
            return self
        order = list(range(len(self.choices)))
        Random(f"{seed} {self.id}").shuffle(order)  # noqa: S311
        choices = tuple(self.choices[old] for old in order)
        letters = {ascii_uppercase[old]: ascii_uppercase[new] for new, old in enumerate(order)}
        return replace(self, choices=choices, targets=tuple(letters[target] for target in self.targets))
