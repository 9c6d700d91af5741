"""Messages on a pipe: msgpack, after their length in four bytes."""

from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from ossctl.app.sites.site import FromSite, SiteLine


class Start(msgspec.Struct, frozen=True, tag=True):
    """The first message of the driver: a pickled SiteJob."""

    job: bytes


class Lines(msgspec.Struct, frozen=True, tag=True):
    """Lines to answer."""

    lines: list[SiteLine]


class Finish(msgspec.Struct, frozen=True, tag=True):
    """There are no more lines."""


ToSite = Start | Lines | Finish

_encoder = msgspec.msgpack.Encoder()
_of_site: msgspec.msgpack.Decoder[FromSite] = msgspec.msgpack.Decoder(FromSite)
_of_driver: msgspec.msgpack.Decoder[ToSite] = msgspec.msgpack.Decoder(ToSite)


def write(pipe: BinaryIO, message: FromSite | ToSite) -> None:
    """Write one message. Raises OSError, ValueError if the pipe is closed."""
    data = _encoder.encode(message)
    pipe.write(len(data).to_bytes(4) + data)
    pipe.flush()


def of_site(pipe: BinaryIO) -> Iterator[FromSite]:
    """Yield the messages of a site until the pipe's end. Raises OSError, msgspec.DecodeError."""
    return map(_of_site.decode, _frames(pipe))


def of_driver(pipe: BinaryIO) -> Iterator[ToSite]:
    """Yield the messages of the driver. Raises as `of_site` does."""
    return map(_of_driver.decode, _frames(pipe))


def _frames(pipe: BinaryIO) -> Iterator[Any]:
    while len(header := pipe.read(4)) == 4:
        data = pipe.read(int.from_bytes(header))
        if len(data) < int.from_bytes(header):
            return
        yield data
