"""Search a folder: `python -P -m ossctl.app.tools.files.grep FOLDER`, with the arguments as JSON on stdin.

A process of its own, because a regular expression may take any amount of time and memory.
"""

import contextlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ossctl.app.tools.files.text_file import read_text_file
from ossctl.app.tools.folder import Folder, FolderError
from ossctl.app.tools.process_limits import limit_process

_MAX_MEMORY = 1024**3
_MAX_SECONDS = 30  # of CPU time; the caller has its own limit
_MAX_MATCHES = 500
_MAX_LINE = 300  # characters of a line that is shown


def main() -> int:
    """Print a line for each match."""
    limit_process(_MAX_MEMORY, _MAX_SECONDS)
    try:
        arguments = json.load(sys.stdin)
        found = 0
        for found, line in enumerate(_matches(Folder(Path(sys.argv[1])), arguments), 1):
            sys.stdout.buffer.write(f"{line}\n".encode("utf-8", "replace"))
            if found == _MAX_MATCHES:
                sys.stdout.write(f"[only the first {_MAX_MATCHES} matches are shown]\n")
                break
        sys.stdout.write("" if found else "no matches\n")
        sys.stdout.flush()
    except (FolderError, re.error, RecursionError, OverflowError) as error:
        kind = "" if isinstance(error, FolderError) else "the pattern is not valid: "
        sys.stderr.write(f"{kind}{error}")
        return 1
    except MemoryError:
        sys.stderr.write("the search needs too much memory")
        return 1
    return 0


def _matches(folder: Folder, arguments: Mapping[str, Any]) -> Iterator[str]:
    """`path:line: text` of each line that matches."""
    pattern = re.compile(arguments["pattern"], re.IGNORECASE if arguments.get("ignore_case") else 0)
    start = folder.relative(arguments.get("path", ""))
    if folder.is_file(start):
        yield from _lines(folder, start, pattern)
        return
    glob = arguments.get("glob", "*")
    for entry in folder.walk(start):
        if not entry.is_folder and (
            fnmatchcase(entry.path, glob) or fnmatchcase(Path(entry.path).name, glob)
        ):
            with contextlib.suppress(FolderError):  # it is binary, or cannot be read
                yield from _lines(folder, entry.path, pattern)


def _lines(folder: Folder, path: str, pattern: re.Pattern[str]) -> Iterator[str]:
    for number, line in enumerate(read_text_file(folder, path).text.split("\n"), 1):
        if found := pattern.search(line):
            yield f"{path}:{number}: {_shown(line, found.start())}"


def _shown(line: str, start: int) -> str:
    """A line, or the part of a long one around its match."""
    if len(line) <= _MAX_LINE:
        return line
    first = max(start - _MAX_LINE // 3, 0)
    return f"{'…' if first else ''}{line[first : first + _MAX_LINE]}…"


if __name__ == "__main__":
    sys.exit(main())
