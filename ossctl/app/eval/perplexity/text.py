"""The tokens of a text of any length, in chunks of the context size. Never more than a piece is in memory."""

import codecs
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from ossctl.app.user_text import check_stdin
from ossctl.errors import UsageError
from ossctl.runtime.base import Tokens

_PIECE = 1 << 20  # bytes
_TAIL = 1 << 12  # characters in which most texts have a place to cut
_UNCUT = 1 << 23  # characters without such a place, after which a token more does not matter
_STDIN = Path("-")
# Where a text can be cut so that its tokens stay the same: no tokenizer merges a word's last letter with the
# space after it. Those that put a space before every text are given none there.
_SPACE = re.compile(r"(?<=[^\W\d_]) (?=[^\W\d_])")
_NEWLINE = re.compile(r"(?<=[^\W\d_]\n)(?=[^\W\d_])")
_BYTE_ORDER_MARK = "\ufeff"


class Text:
    """A seekable file of UTF-8 text, checked from start to end."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Raises UsageError if `file` is not text or is empty."""
        self._file = file
        self.name = name
        for _ in self.pieces():
            pass
        self.n_bytes = file.tell()
        if not self.n_bytes:
            raise UsageError(f"{name} is empty")

    def pieces(self) -> Iterator[str]:
        """The text from its start, in pieces. Raises UsageError for bytes that are not UTF-8, and zeros."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        self._file.seek(0)
        at = 0
        while data := self._file.read(_PIECE):
            try:
                text = decoder.decode(data)
            except UnicodeDecodeError as error:
                offset = at + len(data) - len(error.object) + error.start
                raise self._refusal(error.object[error.start], offset) from None
            if "\0" in text:
                offset = at + data.index(0)
                raise UsageError(
                    f"cannot read {self.name}: it is binary, with a zero byte at offset {offset:,}"
                )
            yield text if at else text.removeprefix(_BYTE_ORDER_MARK)
            at += len(data)
        if rest := decoder.getstate()[0]:
            raise self._refusal(rest[0], at - len(rest))

    @property
    def n_read(self) -> int:
        """Bytes of what `pieces` has yielded."""
        return self._file.tell()

    def _refusal(self, byte: int, offset: int) -> UsageError:
        return UsageError(
            f"cannot read {self.name}: it is not UTF-8 text, byte 0x{byte:02x} at offset {offset:,}",
            "Convert it first, for example with iconv.",
        )


@contextmanager
def opened_text(path: Path) -> Iterator[Text]:
    """The text of `path`, or of stdin for `-`. Raises UsageError."""
    with ExitStack() as stack:
        if path == _STDIN:
            yield Text(_spooled_stdin(stack), "standard input")
            return
        try:
            file: BinaryIO = stack.enter_context(path.open("rb"))
            text = Text(file if file.seekable() else _copy(file, stack), str(path))
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from None
        except ValueError:  # a zero byte in the name
            raise UsageError(f"cannot read {path}: no file can have this name") from None
        yield text


def _spooled_stdin(stack: ExitStack) -> BinaryIO:
    check_stdin()
    if sys.stdin.isatty():
        raise UsageError("there is no text on standard input", "Give a file, or pipe in text.")
    return _copy(sys.stdin.buffer, stack)


def _copy(file: BinaryIO, stack: ExitStack) -> BinaryIO:
    """A copy of a pipe in a temporary file: each model reads it again."""
    copy = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (the stack closes it)
    shutil.copyfileobj(file, copy, _PIECE)
    return copy


class Tokenizer(Protocol):
    """The vocabulary methods that the tokens of a text need."""

    @property
    def begin_id(self) -> int | None: ...
    def piece(self, token: int) -> bytes: ...
    def tokenize(self, text: str) -> Sequence[int]: ...


class TokenChunks:
    """The tokens of `text` in chunks of `n_ctx`, which llama-perplexity makes of the file likewise.

    The text starts with the model's BOS token, if it has one, and BOS then replaces the first token of each
    chunk. A last newline is left out, and so are tokens that do not fill a chunk.
    """

    def __init__(
        self,
        text: Text,
        vocabulary: "Tokenizer",
        n_ctx: int,
        limit: int | None = None,
    ) -> None:
        """`limit` is the largest number of chunks. Raises UsageError if the text has fewer than two."""
        self._text, self._vocabulary, self._begin = text, vocabulary, vocabulary.begin_id
        self.n_ctx, self._limit = n_ctx, limit
        self._tokens = self._tokenized()
        self._waiting = np.array([] if self._begin is None else [self._begin], np.int32)
        self._n_tokens = len(self._waiting)
        while len(self._waiting) < 2 * n_ctx:
            if not self._read_more():
                raise UsageError(
                    f"{text.name} has {len(self._waiting):,} tokens, "
                    f"but a context of {n_ctx:,} needs at least {2 * n_ctx:,}",
                    "Use a longer text, or a smaller --ctx.",
                )

    @property
    def expected(self) -> int:
        """Number of all chunks; estimated until the whole text has been read."""
        share = self._text.n_read / self._text.n_bytes
        n_chunks = int(self._n_tokens / share) // self.n_ctx
        return n_chunks if self._limit is None else min(n_chunks, self._limit)

    def __iter__(self) -> Iterator[Tokens]:
        n_left = self._limit
        while n_left is None or n_left > 0:
            while len(self._waiting) < self.n_ctx:
                if not self._read_more():
                    return
            chunk, self._waiting = self._waiting[: self.n_ctx].copy(), self._waiting[self.n_ctx :]
            if self._begin is not None:
                chunk[0] = self._begin
            yield chunk
            n_left = None if n_left is None else n_left - 1

    def _read_more(self) -> bool:
        """Whether there were more tokens."""
        more = next(self._tokens, None)
        if more is None:
            return False
        self._n_tokens += len(more)
        self._waiting = np.concatenate([self._waiting, more])
        return True

    def _tokenized(self) -> Iterator[Tokens]:
        tokenize = self._vocabulary.tokenize
        adds_space = b"".join(map(self._vocabulary.piece, tokenize("a"))).startswith(b" ")
        rest = ""
        pieces = self._text.pieces()
        piece = next(pieces, None)
        while piece is not None:
            rest += piece
            piece = next(pieces, None)
            if piece is None:
                now, rest = rest.removesuffix("\n"), ""
            else:
                now, rest = _cut(rest, adds_space=adds_space)
            if now:
                yield np.array(tokenize(now), np.int32)


def _cut(text: str, *, adds_space: bool) -> tuple[str, str]:
    """`text` in two parts, the second a short one, whose tokens together are those of the whole.

    The first is empty if there is no place for that.
    """
    for pattern in (_SPACE,) if adds_space else (_SPACE, _NEWLINE):
        for start in (max(0, len(text) - _TAIL), 0):
            ends = [found.start() for found in pattern.finditer(text, start)]
            if ends:
                return text[: ends[-1]], text[ends[-1] + adds_space :]
    return (text, "") if len(text) > _UNCUT else ("", text)
