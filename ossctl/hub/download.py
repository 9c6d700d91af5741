"""One file from the hub onto the disk: continued after every interruption, and hashed as it comes.

huggingface-hub's own download begins a file anew in every process and holds it back until it is whole, which
will not do for 60 GB over a home line. So the bytes are fetched here, over its session, into
`blobs/<sha256>.incomplete`, and become the blob that it would have made.
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
from ossctl.hub.hub import HubFile, in_words
from ossctl.hub.retry import Patience

# What Hugging Face serves over plain HTTP; larger files come through its chunk store only.
LARGEST_FILE = constants.MAX_HTTP_DOWNLOAD_SIZE


class _WrongAnswer(httpx2.TransportError):
    """The answer is not the file that was asked for: the page of a proxy, another length."""


class Damaged(Exception):
    """What arrived is not what the hub says it has. It is deleted; `sha256` is what it was."""

    def __init__(self, file: HubFile, sha256: str) -> None:
        super().__init__(f"{file.name} arrived damaged: its sha256 is {sha256}, not {file.sha256}")
        self.sha256 = sha256


def fetch(
    file: HubFile, part: Path, watch: Callable[[int], None], wait: Callable[[float, str], None]
) -> None:
    """Make `part` hold the whole `file`, from what it holds already.

    `watch` is told the bytes that are there, `wait(seconds, why)` sleeps before another attempt. Raises
    Damaged, ModelError (no access, no network) and OSError (a full disk); but for Damaged `part` stays, to go
    on from.
    """
    patience = Patience(wait)
    with part.open("ab", buffering=0) as out, FollowingHash(part) as digest:
        have = os.fstat(out.fileno()).st_size
        if have > file.n_bytes:
            have = _begin_anew(out, digest)
        digest.grown(have)
        while have < file.n_bytes:
            watch(have)
            try:
                for position in _stream(file, out, digest, have):
                    have = position
                    patience.progress()
                    watch(have)
            except httpx2.HTTPError as error:
                have = os.fstat(out.fileno()).st_size
                _be_patient(patience, error, file)
            except OfflineModeIsEnabled as error:
                raise in_words(error, file.repo) from None
        watch(have)
        sha256 = digest.result()
        os.fsync(out.fileno())
    if sha256 != file.sha256:
        part.unlink()
        raise Damaged(file, sha256)


def read_beginning(file: HubFile, n_bytes: int) -> bytes:
    """The first `n_bytes` bytes of `file`, or all if it has fewer: a header, to plan with beforehand.

    Raises ModelError.
    """
    headers = {"Range": f"bytes=0-{n_bytes - 1}"}
    try:
        with _answer(file, headers) as response:
            data = bytearray()
            for piece in response.iter_raw():
                data += piece
                if len(data) >= n_bytes:
                    break
    except (httpx2.HTTPError, OfflineModeIsEnabled) as error:
        raise in_words(error, file.repo, file.commit) from None
    return bytes(data[:n_bytes])


def _be_patient(patience: Patience, error: Exception, file: HubFile) -> None:
    try:
        patience.after(error)
    except httpx2.HTTPError:
        raise in_words(error, file.repo, file.commit) from None


def _stream(file: HubFile, out: BinaryIO, digest: FollowingHash, have: int) -> Iterator[int]:
    """Append what the server sends from byte `have` on; yields the bytes that are there."""
    with _answer(file, {"Range": f"bytes={have}-"} if have else {}) as response:
        start = _start_of(response, file)
        if start not in (0, have):
            raise _WrongAnswer(f"asked for byte {have:,}, the server sent byte {start:,}")
        if have and start == 0:
            have = _begin_anew(out, digest)
        for data in response.iter_raw():
            if have + len(data) > file.n_bytes:
                raise _WrongAnswer(f"more than the {file.n_bytes:,} bytes of {file.name}")
            _write(out, data)
            have += len(data)
            digest.grown(have)
            yield have
    if have < file.n_bytes:
        raise _WrongAnswer("the connection ended early")


@contextmanager
def _answer(file: HubFile, headers: dict[str, str]) -> Iterator[httpx2.Response]:
    """What the server answers, not yet read. Raises HfHubHTTPError, httpx2.HTTPError.

    It is always the hub that is asked, and not the address that it sent us to before: those expire.
    """
    headers = {**build_hf_headers(), "Accept-Encoding": "identity", **headers}
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", file.url, headers=headers, timeout=timeout) as response:
        hf_raise_for_status(response)
        yield response


def _start_of(response: httpx2.Response, file: HubFile) -> int:
    """The place in the file where the answer begins. Raises _WrongAnswer if it is not of this file."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise _WrongAnswer(f"the server sent it in {encoding}")
    if response.status_code == 206:
        place, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        start = place.partition("-")[0]
    else:
        start, total = "0", response.headers.get("Content-Length", "")
    if not start.isdigit() or total != str(file.n_bytes):
        raise _WrongAnswer(f"the server sent something of {total or 'unknown'} bytes, not {file.n_bytes:,}")
    return int(start)


def _write(out: BinaryIO, data: bytes) -> None:
    """All of `data`, though the disk may take it in parts."""
    left = memoryview(data)
    while left:
        left = left[out.write(left) :]


def _begin_anew(out: BinaryIO, digest: FollowingHash) -> int:
    out.truncate(0)
    digest.begun_anew()
    return 0
