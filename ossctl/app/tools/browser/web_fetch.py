"""Fetches a page of the web, and nothing from this machine or its network."""

import ipaddress
import socket
import ssl
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from time import monotonic
from urllib.parse import urljoin, urlsplit

from ossctl.app.tools.browser.library import PageError
from ossctl.app.tools.source import KeepGoing

_SECONDS = 30.0
_CONNECT_SECONDS = 10.0
_MAX_REDIRECTS = 5
_MAX_ADDRESSES = 3  # of one host
_MAX_HOST = 253  # characters; RFC 1035, 2.3.4: 255 bytes with the lengths of the first label and the root
_READ_BYTES = 64 * 1024
_ACCEPT = "text/html,application/xhtml+xml,text/*;q=0.9,application/pdf;q=0.8,*/*;q=0.1"


@dataclass(frozen=True)
class Fetched:
    """The body of a page, at most the limit of it, from the URL that redirects led to."""

    url: str
    content_type: str
    data: bytes


def fetch(url: str, limit: int, keep_going: KeepGoing, agent: str, *, public_only: bool = True) -> Fetched:
    """Get at most `limit` bytes of a page. Raises PageError.

    Unless `public_only` is false, only public addresses are connected to: a page must not reach services of
    this machine or its network, by a link, a redirect or a name that resolves to them.
    """
    deadline = monotonic() + _SECONDS
    for _ in range(_MAX_REDIRECTS + 1):
        connection = _connect(url, public_only=public_only)
        try:
            with _request(connection, url, agent) as response:
                target = response.headers.get("Location")
                if response.status in {301, 302, 303, 307, 308} and target:
                    url = urljoin(url, target)
                    continue
                if response.status != 200:
                    raise PageError(f"{_host(url)} answers {response.status} {response.reason}")
                data = _body(response, limit, keep_going, deadline)
                return Fetched(url, response.headers.get_content_type(), data)
        except (OSError, HTTPException, ValueError, zlib.error) as error:
            raise PageError(f"{_host(url)} cannot be read: {error or type(error).__name__}") from None
        finally:
            connection.close()
    raise PageError(f"there are more than {_MAX_REDIRECTS} redirects")


def _connect(url: str, *, public_only: bool) -> HTTPConnection:
    try:
        parts = urlsplit(url)
        secure, host = parts.scheme == "https", _host_name(url)
        port = parts.port or (443 if secure else 80)
    except ValueError:
        raise PageError("the URL is not valid") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise PageError("only http and https URLs can be opened")
    try:
        opened = _opened(_addresses(host, port, public_only=public_only), port)
        if secure:
            opened = ssl.create_default_context().wrap_socket(opened, server_hostname=host)
    except OSError as error:
        raise PageError(f"cannot connect to {host}: {error.strerror or error}") from None
    connection = HTTPConnection(host, port)
    connection.sock = opened
    return connection


def _addresses(host: str, port: int, *, public_only: bool) -> Sequence[str]:
    """The addresses to connect to. The name is not resolved again after this check."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))[:_MAX_ADDRESSES]
    if public_only and not all(map(_is_public, addresses)):
        raise PageError(f"{host} is not on the public network")
    return addresses


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address.sixtofour or address
    return address.is_global and not address.is_multicast


def _opened(addresses: Sequence[str], port: int) -> socket.socket:
    """A connection to the first address that answers: IPv6 may lead nowhere. Raises OSError."""
    *others, last = addresses
    for address in others:
        with suppress(OSError):
            return socket.create_connection((address, port), _CONNECT_SECONDS)
    return socket.create_connection((last, port), _CONNECT_SECONDS)


def _request(connection: HTTPConnection, url: str, agent: str) -> HTTPResponse:
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.putrequest("GET", _ascii(path), skip_host=True, skip_accept_encoding=True)
    host = _host_name(url)
    connection.putheader("Host", host if parts.port is None else f"{host}:{parts.port}")
    for name, value in {"User-Agent": agent, "Accept": _ACCEPT, "Accept-Encoding": "gzip"}.items():
        connection.putheader(name, value)
    connection.endheaders()
    return connection.getresponse()


def _body(response: HTTPResponse, limit: int, keep_going: KeepGoing, deadline: float) -> bytes:
    """At most `limit` bytes, decompressed."""
    packed = response.headers.get("Content-Encoding", "identity") in {"gzip", "deflate", "x-gzip"}
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32) if packed else None
    data = bytearray()
    while len(data) < limit and (piece := response.read1(_READ_BYTES)):
        data += inflate.decompress(piece, limit - len(data)) if inflate else piece
        if not keep_going() or monotonic() > deadline:
            raise PageError(f"the page took more than {_SECONDS:g} s")
    return bytes(data[:limit])


def _host_name(url: str) -> str:
    """The host as it is resolved. Raises ValueError."""
    name = urlsplit(url).hostname or ""
    if len(name) > _MAX_HOST:  # the codec takes a time that grows with the square of the length
        raise ValueError("the host is too long")
    return name.encode("idna").decode()


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _ascii(path: str) -> str:
    """A path without characters that a request line cannot have."""
    return "".join(c if "!" <= c <= "~" else "".join(f"%{byte:02X}" for byte in c.encode()) for c in path)
