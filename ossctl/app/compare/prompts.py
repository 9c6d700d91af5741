"""The prompts of a comparison: arguments, or a file of requests, rows or lines."""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ossctl.app.compare.results import Prompt
from ossctl.app.inference.defaults import Defaults
from ossctl.app.user_text import check_stdin, encodable, read_piped
from ossctl.app.wire.chat_completions import Task, custom_id_of, parse_task, read_record
from ossctl.app.wire.lines import Line
from ossctl.app.wire.source import Format, Source, format_of
from ossctl.errors import RequestError, UsageError

STREAM = Path("-")
_SUFFIXES = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".txt")
_HINT = 'Give one, as in ossctl compare -m A,B "…", or a file with -f.'


@dataclasses.dataclass(frozen=True)
class PromptLines:
    """The prompts as lines of a request each; `name` is that of their file, "" for arguments."""

    lines: tuple[Line, ...]
    name: str

    def tasks(self, defaults: Defaults) -> list[Task]:
        """The requests, with these defaults; request i has seed i more. Raises UsageError."""
        return [self._task(line, defaults) for line in self.lines]

    def _task(self, line: Line, defaults: Defaults) -> Task:
        try:
            task = parse_task(read_record(line), line, defaults)
        except RequestError as error:
            raise UsageError(f"{self._where(line)}: {error.message}") from None
        if task.n > 1:
            raise UsageError(f"{self._where(line)}: n is {task.n}, but a comparison takes one answer of each")
        return dataclasses.replace(task, custom_id=_id_of(line))

    def _where(self, line: Line) -> str:
        return f"{self.name}, line {line.number}" if self.name else f"prompt {line.number}"


def read_prompts(words: Sequence[str], file: Path | None) -> PromptLines:
    """The prompts of the command line, or of `file`; `-` is stdin. Raises UsageError."""
    if file is None and [*words] == [str(STREAM)]:
        words, file = (), STREAM
    if file is not None and words:
        raise UsageError("a prompt and --file cannot be combined", "Put all prompts into the file.")
    if file is not None:
        found = _piped() if file == STREAM else _read(file)
        if not found.lines:
            raise UsageError(f"{found.name} contains no prompts", "Expected one request or prompt per line.")
        _refuse_duplicates(found)
        return found
    for word in words:
        if word.endswith(_SUFFIXES) and Path(word).is_file():
            raise UsageError(f"{word} is a file, not a prompt", f"Read prompts from it with -f {word}.")
    texts = [text for word in words if (text := encodable(word).strip())]
    if not texts:
        raise UsageError("there is no prompt", _HINT)
    return PromptLines(tuple(_lines_of(texts)), "")


def prompt_of(task: Task) -> Prompt:
    """What is shown of a request."""
    messages = task.conversation.messages
    return Prompt(
        id=task.custom_id, messages=tuple({"role": each.role, "content": each.content} for each in messages)
    )


def _read(path: Path) -> PromptLines:
    """Lines of JSON, rows of a table with the column `prompt`, or else a prompt a line."""
    kind = format_of(path)
    if kind is Format.JSONL and path.suffix.lower() not in (*_SUFFIXES[:3], ".gz", ".zst"):
        kind = Format.TEXT
    source = Source(path, kind)
    source.survey(custom_id_of)  # finds what is wrong with the file
    column = "text" if kind is Format.TEXT else "prompt"
    lines = (_with_prompt(line, column, path) for line in source.lines())
    return PromptLines(tuple(lines), str(path))


def _piped() -> PromptLines:
    """Lines of JSON objects if the first one starts as such, else a prompt a line."""
    check_stdin()
    if sys.stdin.isatty():
        raise UsageError("-f - reads a pipe, and standard input is a terminal", _HINT)
    text = read_piped() or ""
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if lines and lines[0][1].startswith("{"):
        return PromptLines(tuple(Line(number, line.encode()) for number, line in lines), "standard input")
    return PromptLines(tuple(_lines_of([line for _, line in lines])), "standard input")


def _lines_of(texts: Sequence[str]) -> Iterator[Line]:
    for number, text in enumerate(texts, 1):
        yield Line(number, fields={"prompt": text})


def _with_prompt(line: Line, column: str, path: Path) -> Line:
    if line.fields is None:
        return line
    if column not in line.fields:
        raise UsageError(f"{path} has no column {column}", f"It has {', '.join(line.fields)}.")
    kept = {name: line.fields[name] for name in ("id", "custom_id") if line.fields.get(name)}
    return Line(line.number, error=line.error, fields={**kept, "prompt": str(line.fields[column])})


def _id_of(line: Line) -> str:
    """The id of a line; its number if it has none."""
    given = custom_id_of(line)
    return str(line.number) if given == f"line-{line.number}" else given


def _refuse_duplicates(found: PromptLines) -> None:
    first: dict[str, int] = {}
    for line in found.lines:
        name = _id_of(line)
        if name in first:
            raise UsageError(f"lines {first[name]} and {line.number} have the same id {name[:80]!r}")
        first[name] = line.number
