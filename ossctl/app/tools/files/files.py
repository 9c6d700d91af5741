"""Reads, lists, searches and changes the files below one folder for the model."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from ossctl.app.tools.arguments import arguments_of
from ossctl.app.tools.command import ToolCommand
from ossctl.app.tools.files.changes import Change, apply_changes, changes_of
from ossctl.app.tools.files.functions import (
    GREP,
    LIST,
    PATCH,
    READ,
    WRITE,
    GrepArguments,
    ListArguments,
    ReadArguments,
)
from ossctl.app.tools.files.text_file import read_text_file
from ossctl.app.tools.folder import Folder, FolderError
from ossctl.app.tools.question import visible
from ossctl.app.tools.source import MAX_RESULT_BYTES, KeepGoing, ToolOutcome, failed, stopped
from ossctl.dialect import Tool, ToolCall

_SEARCH_SECONDS = 20.0
_MAX_SHOWN = MAX_RESULT_BYTES * 3 // 4  # bytes of a file or a list; the rest is for numbers and notes
_MAX_LINE = 2000  # characters of a line that is shown


class FilesSource:
    """Functions for the files below `root`. Those that change files are there only if it is `writable`."""

    concurrent = False  # a read may follow a write

    def __init__(self, root: Path, *, writable: bool = False) -> None:
        """Raises UsageError if there is no such folder."""
        self._folder = Folder(root)
        self._writable = writable

    def tools(self) -> Sequence[Tool]:
        return (READ, LIST, GREP, WRITE, PATCH) if self._writable else (READ, LIST, GREP)

    def describe(self, name: str, /) -> str:
        return f"{'changes' if name in {WRITE.name, PATCH.name} else 'reads'} files in {self._folder.root}"

    def notes(self) -> Sequence[str]:
        may = "read and change" if self._writable else "read"
        return [f"The model can {may} the files in {self._folder.root}."]

    def open(self) -> "Files":
        return Files(self._folder)

    def close(self) -> None:
        """Nothing is open."""


class Files:
    """The files of a folder in one conversation. A change is made only as it was shown to the user."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._shown: dict[ToolCall, Sequence[Change]] = {}

    def question(self, call: ToolCall) -> str | None:
        """The change as a diff. None for a call that reads, or whose change is impossible."""
        if call.name not in {WRITE.name, PATCH.name}:
            return None
        try:
            changes = self._shown[call] = changes_of(call, self._folder)
        except (FolderError, ValueError):
            return None
        diff = "".join(change.diff() for change in changes) or "No file would change.\n"
        diff = "\t".join(map(visible, diff.split("\t")))
        return f"{diff}Let {call.name} change {', '.join(change.name for change in changes)}?"

    def run(self, call: ToolCall, keep_going: KeepGoing) -> ToolOutcome:
        if not keep_going():
            return stopped(call)
        functions: Mapping[str, Callable[[ToolCall, KeepGoing], ToolOutcome]] = {
            READ.name: self._read,
            LIST.name: self._list,
            GREP.name: self._grep,
            WRITE.name: self._change,
            PATCH.name: self._change,
        }
        try:
            return functions[call.name](call, keep_going)
        except (FolderError, ValueError) as error:
            return failed(call, str(error))

    def close(self) -> None:
        """Nothing is open."""

    def _read(self, call: ToolCall, _: KeepGoing) -> ToolOutcome:
        arguments = arguments_of(call, ReadArguments)
        lines = read_text_file(self._folder, arguments.path).text.split("\n")
        if len(lines) > 1 and not lines[-1]:
            lines.pop()
        first = max(arguments.start, 1)
        last = min(arguments.end or len(lines), len(lines))
        if first > last:
            raise ValueError(f"{arguments.path} has no lines {first} to {last}: the last one is {len(lines)}")
        shown: list[str] = []
        n_bytes = 0
        for number, line in enumerate(lines[first - 1 : last], first):
            cut = line if len(line) <= _MAX_LINE else f"{line[:_MAX_LINE]}… [{len(line):,} characters]"
            if (n_bytes := n_bytes + len(cut.encode("utf-8", "replace")) + 8) > _MAX_SHOWN and shown:
                break
            shown.append(f"{number}\t{cut}")
        end = first + len(shown) - 1
        if end < last:
            shown.append(f"[lines {first} to {end} of {len(lines)}; continue with start={end + 1}]")
        return ToolOutcome(call, "\n".join(shown), ok=True)

    def _list(self, call: ToolCall, _: KeepGoing) -> ToolOutcome:
        path = arguments_of(call, ListArguments).path
        shown: list[str] = []
        n_bytes = 0
        entries = self._folder.entries(path)
        for entry in entries:
            line = f"{entry.path}/" if entry.is_folder else f"{entry.path}\t{entry.n_bytes:,}"
            if (n_bytes := n_bytes + len(line.encode()) + 1) > _MAX_SHOWN:
                shown.append(f"[{len(entries) - len(shown):,} more]")
                break
            shown.append(line)
        return ToolOutcome(call, "\n".join(shown) or "the folder is empty", ok=True)

    def _grep(self, call: ToolCall, keep_going: KeepGoing) -> ToolOutcome:
        arguments = msgspec.json.encode(arguments_of(call, GrepArguments)).decode()
        argv = (sys.executable, "-P", "-m", "ossctl.app.tools.files.grep", str(self._folder.root))
        outcome = ToolCommand(argv, _SEARCH_SECONDS).run(ToolCall(call.name, arguments), keep_going)
        return ToolOutcome(call, outcome.result, outcome.ok)

    def _change(self, call: ToolCall, _: KeepGoing) -> ToolOutcome:
        changes = changes_of(call, self._folder)
        if self._shown.pop(call, changes) != changes:
            raise FolderError("the files have changed since the user was asked: read them again")
        return ToolOutcome(call, apply_changes(changes, self._folder), ok=True)
