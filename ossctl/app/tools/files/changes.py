"""What a call would change in a folder: shown as a diff, then done."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import unified_diff

from ossctl.app.tools.arguments import arguments_of, json_arguments
from ossctl.app.tools.files.functions import WRITE, WriteArguments
from ossctl.app.tools.files.patches import FileChange, parse_patch, patch_in
from ossctl.app.tools.files.text_file import TextFile, read_if_there
from ossctl.app.tools.folder import Folder, FolderError
from ossctl.app.tools.question import visible
from ossctl.dialect import ToolCall

_NO_FILE = "/dev/null"
_NO_NEWLINE = "\n\\ No newline at end of file\n"


@dataclass(frozen=True)
class Change:
    """What becomes of one file. `old` is None for a new file, `text` for one that is deleted.

    `form` says how the text is stored.
    """

    path: str
    old: TextFile | None
    text: str | None
    form: TextFile

    @property
    def name(self) -> str:
        """The path for the user, on one line."""
        return visible(self.path).replace("\n", "\\n")

    def diff(self) -> str:
        old, new = _lines(self.old.text if self.old else ""), _lines(self.text or "")
        before = self.name if self.old else _NO_FILE
        after = self.name if self.text is not None else _NO_FILE
        lines = unified_diff(old, new, before, after)
        return "".join(line if line.endswith("\n") else f"{line}{_NO_NEWLINE}" for line in lines)

    @property
    def done(self) -> str:
        """What has been done, for the model."""
        if self.text is None:
            return f"deleted {self.path}"
        return f"{'updated' if self.old else 'added'} {self.path}"


def _lines(text: str) -> Sequence[str]:
    """The lines with their ends. Only a line feed ends one, for the model as well."""
    return [line for line in re.split(r"(?<=\n)", text) if line]


def changes_of(call: ToolCall, folder: Folder) -> Sequence[Change]:
    """The changes of a call that writes. Raises FolderError and ValueError."""
    if call.name == WRITE.name:
        arguments = arguments_of(call, WriteArguments)
        old = read_if_there(folder, arguments.path)
        changes = [Change(arguments.path, old, arguments.text, old or TextFile(""))]
    else:
        parts = parse_patch(patch_in(json_arguments(call)))
        changes = [change for part in parts for change in _patched(part, folder)]
    places = [folder.relative(change.path) for change in changes]
    if twice := next((place for place in places if places.count(place) > 1), None):
        raise ValueError(f"{twice} is changed twice")
    return changes


def apply_changes(changes: Sequence[Change], folder: Folder) -> str:
    """Write the changes. Returns what has been done. Raises FolderError, which says what is done already."""
    done: list[str] = []
    for change in sorted(changes, key=lambda change: change.text is None):  # deletions come last
        try:
            if change.text is None:
                folder.delete(change.path)
            else:
                folder.write(change.path, change.form.replaced(change.text))
        except FolderError as error:
            raise FolderError("; ".join([str(error), *(f"already {what}" for what in done)])) from None
        done.append(change.done)
    return "\n".join(done)


def _patched(part: FileChange, folder: Folder) -> Iterator[Change]:
    old = read_if_there(folder, part.path)
    text = part.apply(old.text if old else None)
    form = old or TextFile("")
    if not part.move_to:
        yield Change(part.path, old, text, form)
        return
    if folder.exists(part.move_to):
        raise FolderError(f"{part.move_to} already exists")
    yield Change(part.move_to, None, text, form)
    yield Change(part.path, old, None, form)
