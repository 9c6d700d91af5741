"""Print the title and the text of a PDF on stdin: `python -P -m ossctl.app.tools.browser.pdf_text`.

A process of its own: a file from anywhere may need any amount of time and memory.
"""

import io
import sys

from ossctl.app.tools.process_limits import limit_process

_MAX_MEMORY = 2 * 1024**3
_MAX_SECONDS = 90  # of CPU time; the caller has its own limit
_MAX_CHARACTERS = 2 * 1024 * 1024


def main() -> int:
    """Write the title, a newline, and the text with a line before each page."""
    limit_process(_MAX_MEMORY, _MAX_SECONDS)
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    data = sys.stdin.buffer.read()
    n_left = _MAX_CHARACTERS
    try:
        reader = PdfReader(io.BytesIO(data))
        title = str(reader.metadata.title or "") if reader.metadata else ""
        _write(" ".join(title.split()) + "\n")
        for number, page in enumerate(reader.pages, 1):
            text = f"[Page {number}]\n{page.extract_text()}\n\n"[:n_left]
            _write(text)
            n_left -= len(text)
            if n_left <= 0:
                break
    except (
        PyPdfError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        MemoryError,
        OSError,
    ):
        return 1
    sys.stdout.buffer.flush()
    return 0


def _write(text: str) -> None:
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))


if __name__ == "__main__":
    sys.exit(main())
