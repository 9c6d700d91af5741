"""Messages on a pipe: msgpack, after their length in four bytes.

A site's begin after a line that is `_MARK`: a login shell may have printed something before.
"""

from collections.abc import Callable, Iterator
from io import BufferedIOBase

import msgspec

from ossctl.app.sites.site import Beat, FromSite, SiteLine

_MARK = b"\x1eossctl site\n"
_MAX_LINE = 1 << 16  # read at once while waiting for the mark
_PIECE = 1 << 16  # read at once of a message


class Start(msgspec.Struct, frozen=True, tag=True):
    """The first message of the driver: a pickled SiteJob."""

    job: bytes


class Lines(msgspec.Struct, frozen=True, tag=True):
    """Lines to answer."""

    lines: list[SiteLine]


class Finish(msgspec.Struct, frozen=True, tag=True):
    """There are no more lines."""


ToSite = Start | Lines | Finish | Beat

_encoder = msgspec.msgpack.Encoder()
_of_site: msgspec.msgpack.Decoder[FromSite] = msgspec.msgpack.Decoder(FromSite)
_of_driver: msgspec.msgpack.Decoder[ToSite] = msgspec.msgpack.Decoder(ToSite)


def write(pipe: BufferedIOBase, message: FromSite | ToSite) -> None:
    """Write one message. Raises OSError, ValueError if the pipe is closed."""
    data = _encoder.encode(message)
    pipe.write(len(data).to_bytes(4) + data)
    pipe.flush()


def begin(pipe: BufferedIOBase) -> None:
    """Write what precedes a site's messages. Raises as `write` does."""
    pipe.write(b"\n" + _MARK)
    pipe.flush()


def of_site(pipe: BufferedIOBase, heard: Callable[[], None]) -> Iterator[FromSite]:
    """Yield the messages of a site until the pipe's end. Raises OSError, msgspec.DecodeError.

    `heard` is called while a message arrives, which takes long on a slow network.
    """
    while (line := pipe.readline(_MAX_LINE)) and line != _MARK:
        pass
    return map(_of_site.decode, _frames(pipe, heard))


def of_driver(pipe: BufferedIOBase, heard: Callable[[], None]) -> Iterator[ToSite]:
    """Yield the messages of the driver, as `of_site` does."""
    return map(_of_driver.decode, _frames(pipe, heard))


def _frames(pipe: BufferedIOBase, heard: Callable[[], None]) -> Iterator[bytes]:
    while len(header := pipe.read(4)) == 4:
        data, size = bytearray(), int.from_bytes(header)
        while len(data) < size:
            if not (piece := pipe.read1(min(size - len(data), _PIECE))):
                return
            data += piece
            if len(data) < size:
                heard()
        yield bytes(data)
