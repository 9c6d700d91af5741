"""What training never sees, decided by hashes before anything is generated."""

import hashlib
import re
from dataclasses import dataclass

from tools.nano.fact_list import fact_words

PAIRS = 0.05
WORDS = 0.12
WORDINGS = 0.17

# Sums of small numbers are the steps that larger ones are made of.
SMALL = 20

_FAMILIAR = fact_words()


def held_pair(a: int, b: int) -> bool:
    """Whether training leaves these two numbers out, in either order."""
    low, high = sorted((a, b))
    return high >= SMALL and _share(f"pair {low} {high}") < PAIRS


def held_word(word: str) -> bool:
    """Whether training leaves this name, city, word or string of letters out, in any case."""
    lower = word.lower()
    return lower not in _FAMILIAR and _share(f"word {lower}") < WORDS


def held_number(number: int) -> bool:
    """Whether training leaves this favourite number out."""
    return _share(f"number {number}") < WORDS


@dataclass(frozen=True)
class Wordings:
    """Ways to say the same, with {slots}; training never uses `held`."""

    train: tuple[str, ...]
    held: tuple[str, ...]


def wordings(*templates: str) -> Wordings:
    """Hold out some of the templates: those with the lowest hashes, at least one."""
    ranked = sorted(templates, key=lambda template: _share(normal(template)))
    held = ranked[: max(1, round(len(ranked) * WORDINGS))]
    return Wordings(tuple(template for template in templates if template not in held), tuple(held))


def normal(text: str) -> str:
    """A text without what questions vary in: case and a last mark."""
    return re.sub(r"[.?!]$", "", text.lower())


def _share(text: str) -> float:
    """A number from 0 to 1 that depends on the text alone."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) / 2**32
