"""Reads the user's own questions: JSON lines, as docs/eval.md describes them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ossctl.app.eval.question import GraderName, Question
from ossctl.app.eval.question_fields import EXAMPLE, InvalidQuestion, question_of
from ossctl.app.wire.lines import Line
from ossctl.app.wire.source import Source
from ossctl.errors import UsageError
from ossctl.storage.compression import READ_ERRORS, describe_read_error


def read_questions(path: Path | None, grader: GraderName | None = None) -> Iterator[Question]:
    """Yield the questions of a file, which may be compressed, or of stdin if `path` is None.

    `grader` is for the lines that name none. If it is None, choices, numbers and text each have their own.
    Raises UsageError, with the line, for the first one that is no valid question.
    """
    source = Source(path)
    line_of: dict[str, int] = {}
    for line in _lines(source):
        try:
            question = question_of(_decoded(line), line.number, grader)
            _refuse_repeated(question.id, line_of)
        except InvalidQuestion as error:
            raise UsageError(f"{source.name}, line {line.number}: {error.message}", error.hint) from None
        line_of[question.id] = line.number
        yield question
    if not line_of:
        raise UsageError(f"{source.name} contains no questions", f"Expected one per line: {EXAMPLE}")


def _refuse_repeated(name: str, line_of: Mapping[str, int]) -> None:
    if name in line_of:
        message = f"the id {name[:80]!r} is already that of line {line_of[name]}"
        raise InvalidQuestion(message, "Give each question an id of its own, or none of them an id.")


def _lines(source: Source) -> Iterator[Line]:
    try:
        yield from source.checked_lines()
    except READ_ERRORS as error:
        raise UsageError(f"cannot read {source.name}: {describe_read_error(error)}") from None


def _decoded(line: Line) -> dict[str, Any]:
    if line.error is not None:
        raise InvalidQuestion(line.error.message)
    try:
        fields = msgspec.json.decode(line.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidQuestion(f"not valid JSON: {error}", f"Write it like {EXAMPLE}") from None
    if not isinstance(fields, dict):
        raise InvalidQuestion("not a JSON object", f"Write it like {EXAMPLE}")
    return fields
