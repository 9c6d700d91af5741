"""Reads numbers in the many ways in which people and models write them, and compares them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from ossctl.app.eval.grading.number_words import numbers_in_words
from ossctl.app.eval.grading.plain_text import plain

_MAX_DIGITS = 400
_MAX_EXPONENT = 400
_EQUAL = Fraction(1, 10**9)  # relative: what computers make of 0.3, 0.30000000000000004, is meant as 0.3
_FINE = 10  # decimals of such a number
_MIN_SIGNIFICANT = 3  # digits of a decimal that may stand for a fraction without an end, as 0.333 for 1/3

_DIGITS = r"""(?:
    \d{1,3}(?:,\d{2,3})*,\d{3}(?:\.\d++)?     # 1,000.5; 1,00,000
  | \d{1,3}(?:\.\d{3})+,\d++                  # 1.000,5
  | \d{1,3}(?:\.\d{3}){2,}                    # 1.000.000
  | \d{1,3}(?:[ '_]\d{3})+(?:[.,]\d++)?       # 1 000; 1'000
  | \d++(?:[.,]\d++)?                         # 1.5; 1,5
  | \.\d++
)(?![.,:'_]?\d)"""
_POWER = r"10\s?\^\s?[({]?(?P<%s>[-+]?\d{1,4})[)}]?"
_NUMBER = re.compile(
    rf"""
    (?<![\w^√±\\])(?<!\d[-:,./])(?<!\w-)(?<!√\{{)  # not within a word, a range, a date or a formula
    (?:(?P<sign>(?<!\d\ )[-+]\s?|\b(?:minus|negative)\s+)?[€£¥]?\s?)?
    (?:
        (?P<whole>\d{{1,9}})\s{{1,3}}(?:and\s)?(?P<part>\d{{1,9}})\s?/\s?(?P<of>\d{{1,9}})(?!\d)
      | (?P<over>{_DIGITS})\s?/\s?(?P<under>-?{_DIGITS})
      | (?P<mantissa>{_DIGITS})\s?[×x*·]\s?{_POWER % "exponent"}
      | {_POWER % "power"}
      | (?P<base>{_DIGITS})\s?(?:\^|\*\*)\s?[({{]?(?P<to>-?\d{{1,3}})[)}}]?
      | (?P<short>{_DIGITS})e(?P<e>[-+]?\d{{1,4}})
      | (?P<digits>{_DIGITS})
    )
    (?!\^|\s?/\s?\d|-\d|\s?[√π]|(?-i:[abeinpqrxyz])\b|x\w|\sR\s\d|(?<=\d{{4}})s\b|(?:st|nd|rd|th)\s(?-i:[A-Z]))
    (?P<suffix>\s?%|\s(?:percent|per\ cent|percentage\ points?)\b
             |\s?(?:hundred|thousand|million|billion|trillion)\b|[km]\b)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SCALES = {"hundred": 2, "thousand": 3, "k": 3, "million": 6, "m": 6, "billion": 9, "trillion": 12}


@dataclass(frozen=True)
class Number:
    """A number as it is written.

    `bare` is the number without its suffix: 42 for 42 %, whose value is 0.42, and 1.5 for 1.5 million.
    `decimals` counts the digits after the point of `value`; a fraction has None.
    """

    value: Fraction
    bare: Fraction
    decimals: int | None
    text: str
    start: int
    end: int

    @property
    def is_percentage(self) -> bool:
        return self.value * 100 == self.bare != 0


def numbers_in(text: str) -> Iterator[Number]:
    """Yield the numbers in plain text that are no part of a word, a range, a date or a formula."""
    for found in _NUMBER.finditer(text):
        if (number := _number(found)) is not None:
            yield number


def number_of(text: str) -> Number | None:
    """The number that the whole of `text` is, apart from a unit without digits."""
    text = plain(text).strip()
    found = list(numbers_in(text))
    if len(found) != 1 or found[0].start > 1 or re.search(r"\d", text[found[0].end :]):
        return None
    before, after = text[: found[0].start], text[found[0].end :]
    return (
        found[0]
        if re.fullmatch(r"[(€£¥]?", before) and re.fullmatch(r"[\s).]*[^\s,;:=]{0,12}[\s.]*", after)
        else None
    )


def number_from_words(text: str, *, last: bool = False) -> Number | None:
    """The first number that is written in words, or the last one."""
    found = list(numbers_in_words(text))
    if not found:
        return None
    value, start, end = found[-1 if last else 0]
    minus = re.search(r"\b(?:minus|negative)\s+\Z", text[:start], re.IGNORECASE)
    start = minus.start() if minus else start
    value = -value if minus else value
    return Number(value, value, None, text[start:end], start, end)


def same_number(given: Number, right: Number, tolerance: float = 0.0) -> bool:
    """Whether two numbers are equal, or one is the other's rounding where a fraction has no end.

    What has a suffix may be meant with or without it: 42 % equals 42 and 0.42.
    """
    if given.is_percentage == right.is_percentage:
        pairs = [(given.value, right.value), (given.bare, right.bare)]
        if given.value == given.bare or right.value == right.bare:
            pairs += [(given.value, right.bare), (given.bare, right.value)]
    else:
        pairs = [(a, b) for a in (given.value, given.bare) for b in (right.value, right.bare)]
    fine = max(given.decimals or 0, right.decimals or 0) >= _FINE
    if any(abs(a - b) <= max(Fraction(tolerance), abs(b) * _EQUAL * fine) for a, b in pairs):
        return True
    return _rounds_to(given, right) or _rounds_to(right, given)


def _rounds_to(fraction: Number, decimal: Number) -> bool:
    value, digits = fraction.value, decimal.decimals
    if fraction.decimals is not None or digits is None or _ends(value):
        return False
    scaled, written = abs(value) * 10**digits, abs(decimal.value) * 10**digits
    significant = len(str(int(written)))
    same_sign = (value < 0) == (decimal.value < 0)
    return same_sign and significant >= _MIN_SIGNIFICANT and written in (round(scaled), int(scaled))


def _ends(value: Fraction) -> bool:
    """Whether `value` can be written with a finite number of decimals."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def _number(found: re.Match[str]) -> Number | None:
    read = _magnitude(found)
    if read is None:
        return None
    bare, decimals = read
    if (found["sign"] or "+").strip().lower() != "+":
        bare = -bare
    value = bare
    suffix = (found["suffix"] or "").strip().lower()
    if suffix.startswith(("%", "per")):
        value, decimals = bare / 100, None if decimals is None else decimals + 2
    elif suffix:
        value, decimals = bare * 10 ** _SCALES[suffix], 0
    return Number(value, bare, decimals, found[0].strip(), found.start(), found.end())


def _magnitude(found: re.Match[str]) -> tuple[Fraction, int | None] | None:
    """The number without its sign and suffix, and its decimals; None if it is too long or has no value."""
    if found.end() - found.start() > _MAX_DIGITS:
        return None
    part = found.groupdict()
    if part["of"]:
        below = int(part["of"])
        return (int(part["whole"]) + Fraction(int(part["part"]), below), None) if below else None
    if part["under"]:
        below_value = _decimal(part["under"])[0]
        return (_decimal(part["over"])[0] / below_value, None) if below_value else None
    for name, exponent in (("mantissa", "exponent"), ("short", "e"), ("", "power")):
        if part[exponent]:
            digits, decimals = _decimal(part[name]) if name else (Fraction(1), 0)
            return _scaled(digits, decimals, int(part[exponent]))
    if part["to"]:
        base, power = _decimal(part["base"])[0], int(part["to"])
        return (base**power, None) if base and abs(power) * len(part["base"]) <= _MAX_EXPONENT else None
    return _decimal(part["digits"])


def _scaled(digits: Fraction, decimals: int, exponent: int) -> tuple[Fraction, int] | None:
    if abs(exponent) > _MAX_EXPONENT:
        return None
    return digits * Fraction(10) ** exponent, max(0, decimals - exponent)


def _decimal(written: str) -> tuple[Fraction, int]:
    """Read digits with separators. A comma or point that groups thousands does so everywhere.

    One comma before three digits groups them, one point before three digits is a decimal point.
    """
    text = re.sub(r"[ '_]", "", written)
    if re.fullmatch(r"-?\d{1,3}(?:,\d{2,3})*,\d{3}(?:\.\d+)?", text):
        text = text.replace(",", "")
    elif re.fullmatch(r"-?\d{1,3}(?:\.\d{3})+,\d+|-?\d{1,3}(?:\.\d{3}){2,}", text):
        text = text.replace(".", "")
    text = text.replace(",", ".")
    return Fraction(text), len(text.partition(".")[2])
