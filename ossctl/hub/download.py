"""Download a file from the hub, resuming after any interruption and hashing it meanwhile.

huggingface-hub's own download starts over in each process. That is not acceptable for 60 GB on a home
connection, so this appends to `blobs/<sha256>.incomplete` over its session. The complete file becomes the
same blob.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx2
from huggingface_hub import constants, get_session, hf_raise_for_status
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers

from ossctl.hub.hashing import FollowingHash
from ossctl.hub.hub import HubFile, to_model_error
from ossctl.hub.retry import Backoff

# Hugging Face serves larger files through Xet only.
MAX_FILE_BYTES = constants.MAX_HTTP_DOWNLOAD_SIZE


class _UnexpectedResponse(httpx2.TransportError):
    """The response is not the requested file, but for example a login page."""


class ChecksumMismatch(Exception):
    """A downloaded file does not have the hash that the hub reports. `sha256` is the actual one."""

    def __init__(self, file: HubFile, sha256: str) -> None:
        super().__init__(f"checksum mismatch for {file.name}: its sha256 is {sha256}, not {file.sha256}")
        self.sha256 = sha256


def fetch(
    file: HubFile, path: Path, on_progress: Callable[[int], None], wait: Callable[[float, str], None]
) -> None:
    """Download `file` to `path`, resuming from what `path` already contains.

    `on_progress` gets the number of bytes present, `wait(seconds, reason)` sleeps before a retry. Raises
    ChecksumMismatch (`path` is deleted), ModelError (no access, no network) and OSError (disk full).
    """
    backoff = Backoff(wait)
    with path.open("ab", buffering=0) as out, FollowingHash(path) as digest:
        n_bytes = os.fstat(out.fileno()).st_size
        if n_bytes > file.n_bytes:
            n_bytes = _restart(out, digest)
        digest.advance(n_bytes)
        furthest = n_bytes  # a server that ignores the range sends known bytes again, which is no progress
        while n_bytes < file.n_bytes:
            on_progress(n_bytes)
            try:
                for size in _append(file, out, digest, n_bytes):
                    n_bytes = size
                    if n_bytes > furthest:
                        furthest = n_bytes
                        backoff.reset()
                    on_progress(n_bytes)
            except httpx2.HTTPError as error:
                n_bytes = os.fstat(out.fileno()).st_size
                _wait_after(error, backoff, file)
            except OfflineModeIsEnabled as error:
                raise to_model_error(error, file.repo) from None
        on_progress(n_bytes)
        sha256 = digest.result()
        os.fsync(out.fileno())
    if sha256 != file.sha256:
        path.unlink()
        raise ChecksumMismatch(file, sha256)


def fetch_prefix(file: HubFile, n_bytes: int) -> bytes:
    """The first `n_bytes` bytes of `file`, or all of it if it is shorter. Raises ModelError."""
    headers = {"Range": f"bytes=0-{n_bytes - 1}"}
    try:
        with _get(file, headers) as response:
            data = bytearray()
            for chunk in response.iter_raw():
                data += chunk
                if len(data) >= n_bytes:
                    break
    except (httpx2.HTTPError, OfflineModeIsEnabled) as error:
        raise to_model_error(error, file.repo, file.commit) from None
    return bytes(data[:n_bytes])


def _wait_after(error: Exception, backoff: Backoff, file: HubFile) -> None:
    try:
        backoff.wait_after(error)
    except httpx2.HTTPError:
        raise to_model_error(error, file.repo, file.commit) from None


def _append(file: HubFile, out: BinaryIO, digest: FollowingHash, n_bytes: int) -> Iterator[int]:
    """Append what the server sends from offset `n_bytes` on. Yields the size so far after each chunk."""
    with _get(file, {"Range": f"bytes={n_bytes}-"} if n_bytes else {}) as response:
        start = _offset_of(response, file)
        if start not in (0, n_bytes):
            raise _UnexpectedResponse(f"the server sent byte {start:,} onwards instead of {n_bytes:,}")
        if n_bytes and start == 0:
            n_bytes = _restart(out, digest)
        for data in response.iter_raw():
            if n_bytes + len(data) > file.n_bytes:
                raise _UnexpectedResponse(f"the server sent more than {file.n_bytes:,} bytes")
            _write(out, data)
            n_bytes += len(data)
            digest.advance(n_bytes)
            yield n_bytes
    if n_bytes < file.n_bytes:
        raise _UnexpectedResponse("the connection was closed early")


@contextmanager
def _get(file: HubFile, headers: dict[str, str]) -> Iterator[httpx2.Response]:
    """Request `file` from the hub, whose redirects expire. Raises HfHubHTTPError and httpx2.HTTPError."""
    headers = {**build_hf_headers(), "Accept-Encoding": "identity", **headers}
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", file.url, headers=headers, timeout=timeout) as response:
        hf_raise_for_status(response)
        yield response


def _offset_of(response: httpx2.Response, file: HubFile) -> int:
    """The offset in `file` at which the body starts. Raises _UnexpectedResponse if it is another file."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise _UnexpectedResponse(f"the server sent the file with {encoding} encoding")
    if response.status_code == 206:
        span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        start = span.partition("-")[0]
    else:
        start, total = "0", response.headers.get("Content-Length", "")
    if not start.isdigit() or total != str(file.n_bytes):
        sent = f"{int(total):,}" if total.isdigit() else "an unknown number of"
        raise _UnexpectedResponse(f"the server sent {sent} bytes instead of {file.n_bytes:,}")
    return int(start)


def _write(out: BinaryIO, data: bytes) -> None:
    """Write all of `data`: an unbuffered file may write less than it is given."""
    rest = memoryview(data)
    while rest:
        rest = rest[out.write(rest) :]


def _restart(out: BinaryIO, digest: FollowingHash) -> int:
    out.truncate(0)
    digest.restart()
    return 0
