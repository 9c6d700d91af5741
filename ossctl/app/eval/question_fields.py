"""Reads a question from the fields of a line: ours, or those of well-known sets."""

import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

import regex

from ossctl.app.eval.grading.numbers import number_of
from ossctl.app.eval.question import MAX_CHOICES, GraderName, Question
from ossctl.schemas.validator import NotASchema, check_schema

EXAMPLE = '{"question": "What is 6 times 7?", "answer": 42}'

# What the fields are called. Ours is the first; the others are those of ARC, GSM8K, HellaSwag, MATH, MedQA,
# MMLU and MMLU-Pro.
_QUESTION = ("question", "problem", "prompt", "input")
_ANSWER = ("answer", "target", "answerKey", "label")
_INDEX = ("answer_index", "answer_idx")
_CHOICES = ("choices", "options")
_ID = ("id", "question_id")
_MEANT = {*_QUESTION, *_ANSWER, *_INDEX, *_CHOICES, *_ID, "system", "grader", "schema", "tolerance"}

_GSM8K = re.compile(r"####[ \t]*(\S[^\n]*?)\s*\Z")
_ANY = {GraderName.SCHEMA, GraderName.PROGRAM, GraderName.MODEL}  # these can do without a right answer


class InvalidQuestion(ValueError):
    """What is wrong with a line, and what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def question_of(fields: Mapping[str, Any], line: int, grader: GraderName | None) -> Question:
    """The question of a line; `grader` is for lines that name none. Raises InvalidQuestion."""
    text = _text(fields, _field(fields, _QUESTION), required=True)
    choices = _choices(fields)
    named = _grader(fields) or grader
    schema = _schema(fields, named)
    targets = _targets(fields, choices, needed=named not in _ANY)
    chosen = named or _automatic(targets, choices)
    _check_targets(chosen, targets, choices)
    return Question(
        id=_id(fields, line),
        text=text,
        grader=chosen,
        targets=targets,
        choices=choices,
        system=_text(fields, "system"),
        schema=schema,
        tolerance=_tolerance(fields, chosen),
        metadata={name: value for name, value in fields.items() if name not in _MEANT},
    )


def _field(fields: Mapping[str, Any], names: Sequence[str]) -> str:
    """The one of `names` that is among the fields; the first if none is."""
    found = [name for name in names if fields.get(name) is not None]
    if len(found) > 1:
        raise InvalidQuestion(
            f"both {found[0]} and {found[1]} are given", f"Keep one of them, such as {names[0]}."
        )
    return found[0] if found else names[0]


def _text(fields: Mapping[str, Any], name: str, *, required: bool = False) -> str:
    value = fields.get(name)
    if value is None and not required:
        return ""
    if value is None:
        others = ", ".join(list(fields)[:8]) or "none"
        raise InvalidQuestion(f"{name} is missing", f"The fields of the line are: {others}.")
    if not isinstance(value, str):
        raise InvalidQuestion(f"{name} must be text, not {_kind(value)}")
    if required and not value.strip():
        raise InvalidQuestion(f"{name} is empty")
    return value


def _id(fields: Mapping[str, Any], line: int) -> str:
    name = _field(fields, _ID)
    value = fields.get(name)
    if value is None:
        return str(line)
    if value == "":
        raise InvalidQuestion(
            f"{name} is empty", "Give each question an id of its own, or none of them an id."
        )
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidQuestion(f"{name} must be text or an integer, not {_kind(value)}")
    return str(value)


def _grader(fields: Mapping[str, Any]) -> GraderName | None:
    value = fields.get("grader")
    if value is None:
        return None
    if value not in tuple(GraderName):
        raise InvalidQuestion(f"{value!r} is not a grader", f"Use one of: {', '.join(GraderName)}.")
    return GraderName(value)


def _schema(fields: Mapping[str, Any], grader: GraderName | None) -> Mapping[str, Any] | None:
    value = fields.get("schema")
    if grader is not GraderName.SCHEMA:
        return None
    if not isinstance(value, dict):
        raise InvalidQuestion("the grader schema needs a JSON schema in the field schema")
    try:
        check_schema(value)
    except NotASchema as error:
        raise InvalidQuestion(f"schema: {error}") from None
    return value


def _tolerance(fields: Mapping[str, Any], grader: GraderName) -> float:
    value = fields.get("tolerance", 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise InvalidQuestion(f"tolerance must be a non-negative number, not {_kind(value)}")
    if value and grader is not GraderName.NUMBER:
        raise InvalidQuestion(f"tolerance has no meaning for the grader {grader}", "Remove it.")
    return float(value)


def _choices(fields: Mapping[str, Any]) -> tuple[str, ...]:
    name = _field(fields, _CHOICES)
    value = fields.get(name)
    if value is None:
        return ()
    if isinstance(value, dict):
        value = _by_letter(name, value)
    if not isinstance(value, list) or not all(isinstance(choice, str | int | float) for choice in value):
        raise InvalidQuestion(f"{name} must be a list of texts")
    if not 2 <= len(value) <= MAX_CHOICES:
        raise InvalidQuestion(f"{name} must have from 2 to {MAX_CHOICES} entries, not {len(value)}")
    choices = tuple(_as_text(choice).strip() for choice in value)
    if not all(choices):
        raise InvalidQuestion(f"{name}: choice {ascii_uppercase[choices.index('')]} is empty")
    if len({*choices}) < len(choices):
        repeated = next(choice for choice in choices if choices.count(choice) > 1)
        raise InvalidQuestion(f"{name}: {repeated[:80]!r} is given twice", "Make the choices differ.")
    return choices


def _by_letter(name: str, value: dict[str, Any]) -> list[Any]:
    """The choices of `{"A": …, "B": …}` or `{"text": […], "label": ["A", …]}`; labels may also be 1, 2, …"""
    labels, texts = _labelled(value)
    if labels not in ([*ascii_uppercase[: len(texts)]], _numbers(len(texts))):
        raise InvalidQuestion(
            f"{name} must be a list of texts, or an object with the keys A, B, C or 1, 2, 3 and so on"
        )
    return texts


def _labelled(value: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """The labels and the texts of choices that are an object."""
    if {*value} == {"text", "label"} and isinstance(value["text"], list) and isinstance(value["label"], list):
        return value["label"], value["text"]
    return list(value), list(value.values())


def _numbers(count: int) -> list[str]:
    return [str(number) for number in range(1, count + 1)]


def _targets(fields: Mapping[str, Any], choices: tuple[str, ...], *, needed: bool) -> tuple[str, ...]:
    """The right answers as texts, or as letters if there are choices."""
    name = _field(fields, _ANSWER)
    given = {key: fields[key] for key in (name, *_INDEX) if fields.get(key) is not None}
    if not given:
        if needed:
            raise InvalidQuestion("it has no answer", "Add the right one in the field answer.")
        return ()
    if not choices:
        if name not in given:
            raise InvalidQuestion(f"{next(iter(given))} needs choices", "Add them as a list in choices.")
        return tuple(_plain(name, value) for value in _each(name, given[name]))
    choices_given = fields[_field(fields, _CHOICES)]
    is_object = isinstance(choices_given, dict)
    numbered = is_object and _labelled(choices_given)[0] == _numbers(len(choices))
    texts_only = is_object or all(isinstance(choice, str) for choice in choices_given)
    read = {}
    for key, answer in given.items():
        first = 1 if numbered and key not in _INDEX else 0
        read[key] = tuple(
            _letter(key, value, choices, first=first, is_index=texts_only) for value in _each(key, answer)
        )
    if len({*read.values()}) > 1:
        readings = ", ".join(f"{key} means {'/'.join(letters)}" for key, letters in read.items())
        raise InvalidQuestion(f"the right answer is ambiguous: {readings}", "Keep one of the fields.")
    return next(iter(read.values()))


def _each(name: str, value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise InvalidQuestion(
            f"{name} is an empty list", "Give the right answer, or all that are acceptable."
        )
    return values


def _plain(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidQuestion(f"{name} must be text, a number or a list of these, not {_kind(value)}")
    text = _as_text(value)
    if not text.strip():
        raise InvalidQuestion(f"{name} is empty", "Give the right answer.")
    solution = _GSM8K.search(text)
    return solution[1] if solution else text


def _letter(name: str, value: Any, choices: tuple[str, ...], *, first: int, is_index: bool) -> str:
    """The letter of the choice that `value` means: a letter, an index that counts from `first`, or its text.

    If `is_index`, an integer means no text.
    """
    text = _plain(name, value).strip()
    letters = ascii_uppercase[: len(choices)]
    found = set()
    if text in choices and name not in _INDEX and not (is_index and isinstance(value, int)):
        found.add(letters[choices.index(text)])
    bare = text.strip("().")
    if len(bare) == 1 and bare.upper() in letters:
        found.add(bare.upper())
    if bare.isascii() and bare.isdecimal() and len(bare) <= 2 and int(bare) - first in range(len(choices)):
        found.add(letters[int(bare) - first])
    if len(found) > 1:
        meanings = " or ".join(sorted(found))
        hint = "Use answer_index, which counts from 0, instead."
        raise InvalidQuestion(f"{name} {text!r} can mean the choice {meanings}", hint)
    if not found:
        indices = f"an index from {first} to {len(choices) - 1 + first}"
        hint = f"Give a letter from A to {letters[-1]}, {indices}, or the text of a choice."
        raise InvalidQuestion(f"{name} {text[:80]!r} is not among the {len(choices)} choices", hint)
    return found.pop()


def _automatic(targets: tuple[str, ...], choices: tuple[str, ...]) -> GraderName:
    if choices:
        return GraderName.CHOICE
    return GraderName.NUMBER if all(map(number_of, targets)) else GraderName.EXACT


def _check_targets(grader: GraderName, targets: tuple[str, ...], choices: tuple[str, ...]) -> None:
    if grader is GraderName.CHOICE and not choices:
        raise InvalidQuestion("the grader choice needs choices", "Add them as a list in choices.")
    if choices and grader in {GraderName.NUMBER, GraderName.EXACT, GraderName.REGEX}:
        raise InvalidQuestion(f"the grader {grader} has no use for choices", "Remove them, or use choice.")
    for target in targets:
        if grader is GraderName.NUMBER and number_of(target) is None:
            raise InvalidQuestion(f"answer {target[:80]!r} is not a number", "Use the grader exact for text.")
        if grader is GraderName.REGEX:
            _check_pattern(target)


def _check_pattern(pattern: str) -> None:
    try:
        regex.compile(pattern)
    except regex.error as error:
        raise InvalidQuestion(f"answer is not a regular expression: {error}") from None


def _as_text(value: str | float) -> str:
    return value if isinstance(value, str) else repr(value)


def _kind(value: Any) -> str:
    names = {bool: "true or false", type(None): "null", dict: "an object", list: "a list", str: "text"}
    return names.get(type(value), repr(value)[:80])
