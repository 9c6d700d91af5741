"""The functions for files, as they are declared to the model, and their arguments."""

import msgspec

from ossctl.app.tools.files.patches import FORMAT
from ossctl.dialect import Schema, Tool

_PATH = {"type": "string", "description": "Path relative to the folder, with slashes."}
_FOLDER = {"type": "string", "description": "Folder; if it is missing, all of it."}


def _object(required: tuple[str, ...], **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": [*required]}


READ = Tool(
    "read_file",
    "Read a text file, with the number of each line. A long file is cut; continue with `start`.",
    _object(
        ("path",),
        path=_PATH,
        start={"type": "integer", "description": "First line, counted from 1."},
        end={"type": "integer", "description": "Last line."},
    ),
)
LIST = Tool("list_files", "List files and folders, with their sizes in bytes.", _object((), path=_FOLDER))
GREP = Tool(
    "grep",
    "Search text files for a regular expression. The result has a line `path:line: text` for each match.",
    _object(
        ("pattern",),
        pattern={"type": "string", "description": "Regular expression in Python's syntax."},
        path={"type": "string", "description": "File or folder to search; if it is missing, all of it."},
        glob={"type": "string", "description": "Only files whose name or path matches, such as *.py."},
        ignore_case={"type": "boolean"},
    ),
)
WRITE = Tool(
    "write_file",
    "Create a file, or replace all of its text. To change parts of a file, use apply_patch.",
    _object(("path", "text"), path=_PATH, text={"type": "string"}),
)
PATCH = Tool("apply_patch", FORMAT, _object(("patch",), patch={"type": "string"}))


class ReadArguments(msgspec.Struct):
    path: str
    start: int = 1
    end: int | None = None


class ListArguments(msgspec.Struct):
    path: str = ""


class GrepArguments(msgspec.Struct):
    pattern: str
    path: str = ""
    glob: str = "*"
    ignore_case: bool = False


class WriteArguments(msgspec.Struct):
    path: str
    text: str
