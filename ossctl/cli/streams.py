"""Standard streams that may be lost: a full disk, a device that is gone, a pipe without a reader."""

import io
import sys
from typing import TYPE_CHECKING, TextIO

from ossctl.errors import OutputClosed, OutputLost, has_no_reader
from ossctl.repl.terminal import silence

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def guard_streams() -> None:
    """Make a lost stderr silent, whatever writes to it, and a lost stdout an OutputLost or OutputClosed.

    A stream is silent from its first failure. Windows consoles stay as they are.
    """
    sys.stdout = _guarded(sys.stdout, _Stdout)
    sys.stderr = _guarded(sys.stderr, _Stderr)


def _guarded(stream: TextIO, kind: type[io.FileIO]) -> TextIO:
    buffer = getattr(stream, "buffer", None)  # `stream` may be None: `2>&-`
    raw = getattr(buffer, "raw", buffer)
    if not isinstance(stream, io.TextIOWrapper) or type(raw) is not io.FileIO:
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(kind(raw.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.write_through,
    )


class _Stdout(io.FileIO):
    def write(self, data: "ReadableBuffer") -> int:
        try:
            return super().write(data)
        except OSError as error:
            closed = has_no_reader(error, self.fileno())
            silence(self.fileno())
            if closed:
                raise OutputClosed from None
            raise OutputLost(f"cannot write standard output: {error.strerror}") from None


class _Stderr(io.FileIO):
    def write(self, data: "ReadableBuffer") -> int:
        try:
            return super().write(data)
        except OSError:
            silence(self.fileno())
            return super().write(data)
