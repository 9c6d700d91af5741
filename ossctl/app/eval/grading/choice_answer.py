"""Reads the letter that an answer chooses."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from string import ascii_uppercase

from ossctl.app.eval.grading.final_answer import Reading, marked_answer, sentences_from_end
from ossctl.app.eval.grading.plain_text import plain, without_thinking

_OPENING = r"[\s({\[<\"'*:=→>.]*+"
_LETTER = re.compile(
    rf"{_OPENING}(?:(?:the\s)?(?:correct\s)?(?:option|choice|answer|letter)[\s:]\s*+{_OPENING})?([A-Z])(?!\w|'[a-z])(.*)",
    re.IGNORECASE | re.DOTALL,
)
_LETTERS = re.compile(r"\W*([A-Z]\s?(?:[A-Z]\s?){1,5})\W*\Z")
_ANOTHER = re.compile(
    r"[\s)\]}\"']*+(?:,|/|&|\+|;|\bor\b|\band\b|\bas well as\b|\n)[\s(\[{]*+(?:(?:and|or|both)\s)?[(\[]?"
    r"(?:([A-Z])(?!\w|'[a-z])(?!\s(?:is|isn't|was|would|cannot|does|has)\b)|([a-z])(?=[)\],.]|\s*\Z))"
)
_CLOSED = re.compile(r"[)\]}>\"'.:,;!]|\s*\Z|\s*[/&+]\s?|\s+[-–—(\[=]|\n")
_REASON = re.compile(r"\s+(?:because|since|as|is|which|for|due|and|or|based|rather|not)\b")
_NOT = re.compile(r"\W*(?:not|neither|none|either|both|all|can't|cannot|unknown)\b", re.IGNORECASE)
_WRONG = re.compile(
    r"\b(?:not|isn't|wrong|incorrect|false|eliminate[ds]?|rules? out|ruled out|cannot|can't|doesn't|neither|"
    r"unlikely|"
    r"instead of|rather than)\b",
    re.IGNORECASE,
)
_STATEMENT = re.compile(
    r"(?<![\w'])\(?([A-Z])\)?\s(?:is|seems|appears|would be|must be|looks)(?:\sto be)?"
    r"(?:\s(?:clearly|definitely|therefore|thus))?(?:\sthe)?(?:\s(?:most\s\w{1,15}|only))?"
    r"\s(?:correct|right|best|true|answer|possibility)\b"
    r"|(?<!not)(?<!n't)\s(?:is|be|it's|say|choose|pick|go with)\s(?:(?:option|choice|letter|answer)\s)?"
    r"\(?([A-Z])\)?(?=[.!]*\s*?(?:\n|\Z))"
)
_IS_WRONG = re.compile(
    r"\W*(?:(?:isn't|cannot|can't)\b"
    r"|(?:is|was|seems|looks|would be)\s(?:\w{1,12}\s)?(?:wrong|incorrect|not|false|eliminated)\b)",
    re.IGNORECASE,
)
_MENTION = re.compile(
    r"(?i:\b(?:option|choice|answer|letter)\s\(?([A-Z]))(?!\w|'[a-z])|\(([A-Za-z])\)"
    r"|(?<![\w'])([B-HJ-Z])(?!\w|'[a-z])|(?<![\w'])([AI])(?!\w|'[a-z]|\s(?!(?:and|or|is|because)\b)[a-z])"
)
_CLAUSE = re.compile(r"[,;:]\s|\s(?:but|so|while|whereas|therefore|thus)\s")
_CONTRAST = re.compile(r"\s\(?(?=(?:rather than|instead of|and not|not)\s)", re.IGNORECASE)
_BRACKETED = re.compile(r"\(([A-Z])\)")
_LISTED = re.compile(r"^[ \t]*\(?([A-Z])[).:][ \t]*\S", re.MULTILINE)
_NOISE = re.compile(r"[^\w.%/+-]+")
_ARTICLE = re.compile(r"\A\W*(?:the|an?) (?=\w)")


def choice_answer(text: str, choices: Sequence[str], *, cut: bool = False) -> Reading[str] | None:
    """The letter that a text chooses among `choices`; None if it chooses none, or if it was cut before."""
    shown = plain(without_thinking(text))
    texts = dict(zip(ascii_uppercase, _comparable_choices(choices), strict=False))
    literal = dict(zip(ascii_uppercase, map(_literal, map(plain, choices)), strict=False))
    read = partial(_read, texts=texts, literal=literal)
    marked = marked_answer(shown, read, cut=cut, statement=_STATEMENT)
    if marked is not None or cut:
        return marked
    lines = [line for line in shown.split("\n") if line.strip()]
    is_list = len({letter for letter in _LISTED.findall(shown) if letter in texts}) > 1
    for line in (lines[-1:] or [""]) + lines[:1]:
        is_overview = len({*_BRACKETED.findall(line)} & {*texts}) > 1 or (is_list and _LISTED.match(line))
        reading = None if is_overview else read(line)
        if reading and reading.value and reading.clean:
            return reading
    return _from_sentences(shown, texts)


def _comparable_choices(choices: Sequence[str]) -> list[str]:
    """The texts of choices for comparison; "" for those that differ from others in punctuation only."""
    texts = [_comparable(plain(choice)) for choice in choices]
    return ["" if texts.count(text) > 1 else text for text in texts]


def _read(answer: str, texts: Mapping[str, str], literal: Mapping[str, str]) -> Reading[str] | None:
    """Read what follows a mark: a letter, perhaps with its choice or a reason, or the text of a choice."""
    found = _LETTER.match(answer)
    letter, rest = (found[1].upper(), found[2]) if found else ("", "")
    if letter in texts and not rest.strip(" \t\n)]}>\"'.,;:!*"):
        return Reading(letter, letter)
    for known, whole in ((literal, _literal(answer)), (texts, _comparable(answer))):
        for candidate, text in known.items():
            if text == whole:
                return Reading(candidate, answer.strip())
    letters = _LETTERS.match(answer)
    if _NOT.match(answer) or (letters and {*"".join(letters[1].split())} <= {*texts}):
        return Reading(None, answer.strip())
    if found and letter in texts and not _IS_WRONG.match(rest) and _is_letter(found, texts[letter]):
        return _by_letter(answer, letter, rest, texts)
    return _by_text(answer, texts)


def _by_letter(answer: str, letter: str, rest: str, texts: Mapping[str, str]) -> Reading[str]:
    another = _ANOTHER.match(rest)
    if another and (other := (another[1] or another[2]).upper()) in texts and other != letter:
        return Reading(None, answer.strip())
    return Reading(letter, letter, clean=not rest.lstrip(")]}\"'").startswith("?"))


def _is_letter(found: re.Match[str], text: str) -> bool:
    """Whether the letter of `found` is a choice with `text`, and no article, pronoun or part of a name."""
    letter, rest = found[1], found[2]
    if _CLOSED.match(rest) or found.string[found.start(1) - 1 : found.start(1)] in {"(", "[", "{"}:
        return True
    if letter.islower():
        return False
    return (
        letter not in "AI" or bool(_REASON.match(rest)) or (text != "" and _comparable(rest).startswith(text))
    )


def _by_text(answer: str, texts: Mapping[str, str]) -> Reading[str] | None:
    """The one choice whose text is in `answer`, as whole words."""
    clauses = _CLAUSE.split(_CONTRAST.sub(", ", answer))
    said = " , ".join(clause for clause in clauses if not _WRONG.match(clause))
    within = f" {_comparable(said)} "
    found = [letter for letter, text in texts.items() if f" {text} " in within or f" {text}. " in within]
    found = [a for a in found if not any(a != b and f" {texts[a]} " in f" {texts[b]} " for b in found)]
    if not found or not all(texts[letter] for letter in found) or _WRONG.search(said):
        return None
    only = found[0] if len(found) == 1 else None
    return Reading(only, answer.strip(), clean=only is not None and within.startswith(f" {texts[only]}"))


def _from_sentences(text: str, texts: Mapping[str, str]) -> Reading[str] | None:
    """The choice of the last sentence that names one as right."""
    for sentence in sentences_from_end(text):
        if _LISTED.match(sentence):
            return None
        said = " , ".join(clause for clause in _CLAUSE.split(sentence) if not _WRONG.search(clause))
        mentions = {next(filter(None, found.groups())).upper() for found in _MENTION.finditer(said)} & {
            *texts
        }
        if len(mentions) == 1:
            letter = mentions.pop()
            return Reading(letter, letter, clean=False)
        if mentions:
            return Reading(None, sentence)
        if (reading := _by_text(said, texts)) is not None:
            return reading
    return None


def _literal(text: str) -> str:
    """`text` for comparison with all of its punctuation, except at its end."""
    return " ".join(text.casefold().split()).strip("\"' ").rstrip(".,:; ")


def _comparable(text: str) -> str:
    """`text` for comparison: without case, articles at its start, and punctuation except in numbers."""
    return _NOISE.sub(" ", _ARTICLE.sub("", text.casefold())).strip().rstrip(". ")
