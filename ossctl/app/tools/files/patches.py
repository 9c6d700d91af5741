"""Parsing and applying patches in the format that gpt-oss and its successors were trained on.

The grammar is that of OpenAI's `apply_patch`. A hunk is found by its lines, not by line numbers.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

# For the description of a tool: the grammar in few words.
FORMAT = """\
A patch is text in this format:
*** Begin Patch
*** Add File: path
+each line of the new file
*** Update File: path
*** Move to: new path (optional)
@@ a line above the change, such as its function's first line (optional)
 an unchanged line
-a removed line
+an added line
*** End of File (optional: the hunk is at the end of the file)
*** Delete File: path
*** End Patch
Each hunk starts with @@. Give about three unchanged lines before and after a change. Paths are relative."""

_BEGIN, _END, _END_OF_FILE = "*** Begin Patch", "*** End Patch", "*** End of File"
_MOVE = "*** Move to:"
_HEADER = re.compile(r"\*\*\* (Add|Update|Delete) File:(.*)")
_HEADERS = "*** Add File, *** Update File or *** Delete File"
_CHANGES = ("", " ", "+", "-")  # how lines of a hunk start; an empty one is context
_LOOSER: tuple[Callable[[str], str], ...] = (str, str.rstrip, str.strip)  # comparisons of lines, in order
_SHOWN = 60  # characters of a line in a message

Action = Literal["add", "update", "delete"]


@dataclass(frozen=True)
class Hunk:
    """Lines to find in a file, and what becomes of them.

    Each of `lines` starts with a space, `-` or `+`. The hunk comes after the lines `sections`, where the file
    has them. With `at_end`, the end of the file is tried first.
    """

    sections: tuple[str, ...]
    lines: tuple[str, ...]
    at_end: bool = False

    @property
    def old(self) -> list[str]:
        """The lines that the file must have."""
        return [line[1:] for line in self.lines if line[0] != "+"]


@dataclass(frozen=True)
class FileChange:
    """One file of a patch. `text` is that of an added file; an updated one may be moved to `move_to`."""

    action: Action
    path: str
    move_to: str = ""
    hunks: tuple[Hunk, ...] = ()
    text: str = ""

    def apply(self, old: str | None) -> str | None:
        """The file's new text, None if it is deleted. `old` is None if there is no such file.

        Raises ValueError, with one line, if the change does not fit.
        """
        if self.action == "add":
            if old is not None:
                raise ValueError(f"{self.path} already exists: use *** Update File")
            return self.text
        if old is None:
            raise ValueError(f"{self.path} does not exist")
        return None if self.action == "delete" else self._updated(old)

    def _updated(self, text: str) -> str:
        if "\r\n" in text and text.count("\r\n") == text.count("\n"):
            return self._updated(text.replace("\r\n", "\n")).replace("\n", "\r\n")
        lines = text.split("\n")
        updated: list[str] = []
        done = 0
        for hunk in self.hunks:
            start = _find(hunk, lines, done)
            if start is None:
                raise ValueError(f"{self.path}: {_unfound(hunk, lines)}")
            updated += lines[done:start]
            done = start
            for line in hunk.lines:
                if line[0] == "+":
                    updated.append(line[1:])
                    continue
                if line[0] == " ":  # the file's own line, which may differ in white space
                    updated.append(lines[done])
                done += 1
        return "\n".join([*updated, *lines[done:]])


def patch_in(arguments: object) -> str:
    """The patch in the arguments of a call: a text, or an object with one text. Raises ValueError.

    gpt-oss writes either, whatever the function's parameters are.
    """
    values = arguments.values() if isinstance(arguments, dict) else [arguments]
    texts = [text for text in values if isinstance(text, str)]
    if len(texts) != 1:
        raise ValueError(f"the patch is missing: give one text that starts with {_BEGIN}")
    return texts[0]


def parse_patch(text: str) -> tuple[FileChange, ...]:
    """The changes of a patch, in its order. Raises ValueError, with one line, for a malformed patch."""
    lines = [line.removesuffix("\r") for line in text.strip().split("\n")]
    if lines[0].rstrip() != _BEGIN:
        raise ValueError(f"the patch must start with {_BEGIN!r}, not {_shown(lines[0])}")
    if lines[-1].rstrip() != _END:
        raise ValueError(f"the patch must end with {_END!r}: it may have been cut off")
    changes = tuple(_changes(_Lines(lines[1:-1])))
    if not changes:
        raise ValueError(f"the patch is empty: it needs {_HEADERS}")
    paths = [change.path for change in changes]
    if double := next((path for path in paths if paths.count(path) > 1), None):
        raise ValueError(f"the patch changes {double} twice: put its hunks under one header")
    return changes


class _Lines:
    """The lines of a patch, with a position."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._at = 0

    @property
    def next(self) -> str | None:
        """The next line; None at the end."""
        return self._lines[self._at] if self._at < len(self._lines) else None

    def skip_blank(self) -> str | None:
        """The next line that is not empty; pass the ones before it."""
        while self.next == "":
            self.take()
        return self.next

    def take(self) -> str:
        """Pass the next line."""
        self._at += 1
        return self._lines[self._at - 1]

    def take_while(self, wanted: Callable[[str], bool]) -> Iterator[str]:
        """Pass the next lines that are wanted."""
        while self.next is not None and wanted(self.next):
            yield self.take()

    def error(self, problem: str) -> ValueError:
        """A problem with the latest line, by its number in the patch."""
        return ValueError(f"line {self._at + 1} of the patch: {problem}")


def _changes(lines: _Lines) -> Iterator[FileChange]:
    while lines.next is not None:
        line = lines.take()
        if not line.strip():
            continue
        header = _HEADER.match(line)
        if header is None:
            raise lines.error(
                f"expected *** Add File, *** Update File or *** Delete File, not {_shown(line)}"
            )
        path = header[2].strip()
        if not path:
            raise lines.error("the path is missing")
        if header[1] == "Add":
            yield FileChange("add", path, text=_added(lines))
        elif header[1] == "Delete":
            yield FileChange("delete", path)
        else:
            yield _update(lines, path)


def _added(lines: _Lines) -> str:
    """The text of a new file. Its last line ends with a newline, unlike in the reference."""
    added = []
    for line in lines.take_while(lambda line: not line.startswith("***")):
        if not line.startswith("+"):
            raise lines.error(f"each line of a new file must start with +, unlike {_shown(line)}")
        added.append(f"{line[1:]}\n")
    return "".join(added)


def _update(lines: _Lines, path: str) -> FileChange:
    move_to = ""
    if lines.next is not None and lines.next.startswith(_MOVE):
        move_to = lines.take().removeprefix(_MOVE).strip()
        if not move_to:
            raise lines.error("the new path is missing")
    hunks = []
    while (line := lines.skip_blank()) is not None and not _HEADER.match(line):
        hunks.append(_hunk(lines))
    if not hunks and not move_to:
        raise lines.error(f"the update of {path} has no lines")
    return FileChange("update", path, move_to, tuple(hunks))


def _hunk(lines: _Lines) -> Hunk:
    sections = [line[2:].removeprefix(" ") for line in lines.take_while(lambda line: line[:2] == "@@")]
    changed = [*lines.take_while(lambda line: line[:1] in _CHANGES)]
    while changed and not changed[-1]:  # a blank line before the next header
        changed.pop()
    at_end = [*lines.take_while(lambda line: line.rstrip() == _END_OF_FILE)]
    if not changed:
        if lines.next is None or lines.next.startswith("@@") or _HEADER.match(lines.next) or at_end:
            raise lines.error("the hunk has no lines")
        raise lines.error(f"a line must start with a space, -, + or @@, unlike {_shown(lines.take())}")
    named = tuple(section for section in sections if section.strip())
    return Hunk(named, tuple(line or " " for line in changed), bool(at_end))


def _find(hunk: Hunk, lines: Sequence[str], start: int) -> int | None:
    """Index of the line, at or after `start`, where a hunk's lines match exactly or up to white space."""
    passed = lines[:start]
    for section in hunk.sections:
        start = _after_section(section, lines, start, passed)
        passed = ()  # a second section is below the first one
    old = hunk.old
    if not old and not hunk.at_end:
        return start
    end = len(lines) - int(lines[-1] == "")  # a final newline starts no line
    ends = [len(lines), end] if old else [end]
    at_end = [place - len(old) for place in ends if hunk.at_end and place - len(old) >= start]
    for strip in _LOOSER:
        stripped, wanted = [strip(line) for line in lines], [strip(line) for line in old]
        for at in chain(at_end, range(start, len(lines) - len(old) + 1)):
            if stripped[at : at + len(old)] == wanted:
                return at
    return None


def _after_section(section: str, lines: Sequence[str], start: int, passed: Sequence[str]) -> int:
    """The line after the next `section`; `start` if it is among the lines `passed` or does not exist.

    The line numbers of other formats, which the models write at times, are not found either.
    """
    for strip in (_LOOSER[0], _LOOSER[-1]):
        wanted = strip(section)
        if wanted in map(strip, passed):
            return start
        for at in range(start, len(lines)):
            if strip(lines[at]) == wanted:
                return at + 1
    return start


def _unfound(hunk: Hunk, lines: Sequence[str]) -> str:
    """Why a hunk has no place, by the first of its lines that the file does not have."""
    known = {line.strip() for line in lines}
    missing = next((line for line in hunk.old if line.strip() not in known), None)
    if missing is not None:
        return f"the file has no line {_shown(missing)}; read it, then patch its lines as they are"
    return f"the lines from {_shown(hunk.old[0])} do not follow each other there; hunks go from top to bottom"


def _shown(line: str) -> str:
    return repr(line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…")
