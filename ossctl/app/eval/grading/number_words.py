"""Reads English number words: "forty-two", "one hundred and five", "three and a half"."""

import re
from collections.abc import Iterator
from fractions import Fraction

_ONES = (
    *(
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
    ),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SMALL = {word: value for value, word in enumerate(_ONES)} | {
    word: 10 * value for value, word in enumerate(_TENS, 2)
}
_LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_WORD = "|".join(sorted([*_SMALL, *_LARGE, "hundred"], key=len, reverse=True))
_WORDS = re.compile(rf"\b(?:{_WORD})(?:(?:\s+and\s+|-|\s+)(?:{_WORD}))*+\b", re.IGNORECASE)
_PARTS = {
    "half": 2,
    "halves": 2,
    "third": 3,
    "thirds": 3,
    "quarter": 4,
    "quarters": 4,
    "fifths": 5,
    "tenths": 10,
}
_PART = re.compile(rf"[\s-](?:an?\s)?({'|'.join(_PARTS)})\b", re.IGNORECASE)
_HALF = re.compile(r"\s+and\s+a\s+half\b", re.IGNORECASE)


def numbers_in_words(text: str) -> Iterator[tuple[Fraction, int, int]]:
    """Yield the numbers in words, with their starts and ends in `text`."""
    for found in _WORDS.finditer(text):
        value = _value(found[0])
        if half := _HALF.match(text, found.end()):
            yield value + Fraction(1, 2), found.start(), half.end()
        elif part := _PART.match(text, found.end()):
            yield value / _PARTS[part[1].lower()], found.start(), part.end()
        else:
            yield value, found.start(), found.end()


def _value(words: str) -> Fraction:
    total = group = 0
    for word in re.findall(r"[a-z]+", words.lower()):
        if word == "hundred":
            group = 100 * (group or 1)
        elif word in _LARGE:
            total, group = total + (group or 1) * _LARGE[word], 0
        elif word != "and":
            group += _SMALL[word]
    return Fraction(total + group)
