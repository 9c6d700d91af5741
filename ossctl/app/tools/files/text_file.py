"""Text files as the model reads and writes them: with LF, while the file keeps its line ends and its mark."""

from dataclasses import dataclass

from ossctl.app.tools.folder import Folder, FolderError

MAX_BYTES = 16 * 1024 * 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class TextFile:
    """The text of a file, and how it is stored. Where only some lines end with CRLF, these keep it."""

    text: str
    crlf: bool = False
    mark: bool = False

    def replaced(self, text: str) -> bytes:
        """The bytes of the file with another text."""
        if self.crlf:
            text = text.replace("\r\n", "\n").replace("\n", "\r\n")
        return (_BYTE_ORDER_MARK if self.mark else b"") + text.encode("utf-8", "replace")


def read_text_file(folder: Folder, path: str) -> TextFile:
    """Raises FolderError for a file that is not text in UTF-8, or too large."""
    data, status = folder.read(path, MAX_BYTES)
    if status.st_size > len(data):
        raise FolderError(f"{path} has more than {MAX_BYTES:,} bytes")
    if b"\0" in data:
        raise FolderError(f"{path} is a binary file of {len(data):,} bytes")
    mark = data.startswith(_BYTE_ORDER_MARK)
    try:
        text = data.removeprefix(_BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError:
        raise FolderError(f"{path} is not text in UTF-8") from None
    crlf = "\r\n" in text and text.count("\n") == text.count("\r\n")
    return TextFile(text.replace("\r\n", "\n") if crlf else text, crlf, mark)


def read_if_there(folder: Folder, path: str) -> TextFile | None:
    """The file, or None if there is none. Raises FolderError."""
    return read_text_file(folder, path) if folder.exists(path) else None
