"""A hub on this machine: the parts of Hugging Face's protocol that downloading uses, with faults on demand.

Repositories have commits; large files are LFS objects, served by a second server (another origin, as with the
real one, so that what must not be sent there shows). It is the real huggingface-hub that talks to it:

    with Hub() as hub:
        hub.add("org/model-GGUF", {"model.gguf": data})
        hub.faults += [Cut(after=1000), Status(503, retry_after=1)]
        ossctl("pull", "hf:org/model-GGUF", **hub.variables)
"""

import functools
import hashlib
import json
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Self
from urllib.parse import unquote, urlsplit

_PIECE = 65536


@dataclass(frozen=True)
class Cut:
    """The connection ends after so many bytes of the answer; with `reset` by RST, as a router may do."""

    after: int
    reset: bool = False


@dataclass(frozen=True)
class Stall:
    """Nothing more comes after so many bytes, for so many seconds; then the connection ends."""

    after: int
    seconds: float


@dataclass(frozen=True)
class Status:
    """The answer is an error."""

    code: int
    retry_after: int | None = None
    ratelimit: str = ""


@dataclass(frozen=True)
class Flip:
    """One byte of the file arrives changed."""

    at: int


@dataclass(frozen=True)
class WholeFile:
    """The server ignores the range that was asked for, and sends everything, or the first `after` bytes."""

    after: int | None = None


@dataclass(frozen=True)
class LoginPage:
    """What a network sends that wants a login in a browser first: another page, with status 200."""


@dataclass(frozen=True)
class Slow:
    """So many bytes a second."""

    rate: float


Fault = Cut | Stall | Status | Flip | WholeFile | LoginPage | Slow | None


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def start(self) -> int:
        """The first byte that it wants."""
        return int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])

    def end(self, n_bytes: int) -> int:
        """The byte before which it wants to stop, of `n_bytes`."""
        last = self.headers.get("range", "-").rpartition("-")[2]
        return min(int(last) + 1, n_bytes) if last else n_bytes


@dataclass
class Repository:
    """`commits` holds files by name, the newest commit last. A gated one needs the hub's token.

    `newest` is the newest one's hash, where a test needs a certain one.
    """

    commits: list[dict[str, bytes]] = field(default_factory=list)
    newest: str = ""
    gated: bool = False
    granted: bool = False
    licence: str = "apache-2.0"

    def names(self) -> list[str]:
        return [self.commit(number) for number in range(len(self.commits))]

    def commit(self, number: int) -> str:
        """Its hash."""
        number %= len(self.commits)
        if self.newest and number == len(self.commits) - 1:
            return self.newest
        state = repr(sorted((name, sha256(data)) for name, data in self.commits[number].items()))
        return hashlib.sha1(f"{number} {state}".encode()).hexdigest()

    def files(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commit(-1), self.commits[-1]
        for number, commit in enumerate(self.names()):
            if commit == revision:
                return commit, self.commits[number]
        return None


class Hub:
    """Serves while it is entered. `faults` are of the next downloads, one each, `api_faults` of API calls.

    Who asks for a range that ends wants a header to plan with: no download, with faults of its own.
    """

    token = "hf_test"

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.faults: list[Fault] = []
        self.api_faults: list[Status | LoginPage] = []
        self.warning = ""  # X-HF-Warning, with every answer of the API
        self.peek_faults: list[Fault] = []
        self.every: Fault = None  # of every download that has no other fault
        self.asked: list[Asked] = []  # of the API and the addresses of files
        self.served: list[Asked] = []  # of the files themselves
        self.peeked: list[Asked] = []  # of their headers
        self.lock = Lock()
        self._servers: list[ThreadingHTTPServer] = []

    def add(self, repo: str, files: Mapping[str, bytes], **settings: Any) -> Repository:
        """Add a commit with these files to a repository, which is made."""
        repository = self.repositories.setdefault(repo, Repository(**settings))
        repository.commits.append(dict(files))
        return repository

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def cdn(self) -> str:
        return f"http://localhost:{self._servers[1].server_port}"

    @property
    def variables(self) -> dict[str, str]:
        """The environment in which huggingface-hub uses this hub."""
        return {"HF_ENDPOINT": self.url, "NO_PROXY": "*"}

    def blob(self, digest: str) -> bytes | None:
        for repository in self.repositories.values():
            for files in repository.commits:
                for data in files.values():
                    if sha256(data) == digest:
                        return data
        return None

    def next_fault(self, *, peek: bool) -> Fault:
        with self.lock:
            if peek:
                return self.peek_faults.pop(0) if self.peek_faults else None
            return self.faults.pop(0) if self.faults else self.every

    def __enter__(self) -> Self:
        for handler in (_Api, _Cdn):
            server = ThreadingHTTPServer(("127.0.0.1", 0), _bound(handler, self))
            server.daemon_threads = True
            self._servers.append(server)
            Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


@functools.cache
def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Say nothing."""

    def note(self, book: list[Asked]) -> Asked:
        asked = Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        with self.hub.lock:
            book.append(asked)
        return asked

    def answer(self, code: int, body: bytes = b"", **headers: object) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, fault: Status) -> None:
        headers: dict[str, object] = {"RateLimit": fault.ratelimit} if fault.ratelimit else {}
        if fault.retry_after is not None:
            headers["Retry_After"] = fault.retry_after
        self.answer(fault.code, b"{}", **headers)

    def login_page(self) -> None:
        self.answer(200, b"<html>Please log in to the hotel's network.</html>", Content_Type="text/html")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        raise NotImplementedError


class _Api(_Handler):
    """What huggingface.co answers: facts about repositories, and where their files are."""

    def do_GET(self) -> None:
        self.note(self.hub.asked)
        path = unquote(urlsplit(self.path).path).strip("/")
        if path.startswith("api/models/"):
            with self.hub.lock:
                fault = self.hub.api_faults.pop(0) if self.hub.api_faults else None
            if isinstance(fault, Status):
                self.fail(fault)
            elif isinstance(fault, LoginPage):
                self.login_page()
            else:
                self._model(path.removeprefix("api/models/"))
        else:
            self._resolve(path)

    def _repository(self, repo: str) -> Repository | None:
        """The repository, if this client may see it; otherwise the refusal is sent."""
        given = self.headers.get("Authorization")
        repository = self.hub.repositories.get(repo)
        if given not in (None, f"Bearer {self.hub.token}"):
            self.answer(401, X_Error_Message="Invalid credentials in Authorization header")
            return None
        if repository is None:  # without a login it is the same as for a private one
            message = "Repository not found" if given else "Invalid username or password."
            self.answer(404 if given else 401, X_Error_Code="RepoNotFound", X_Error_Message=message)
            return None
        return repository

    def _model(self, rest: str) -> None:
        repo, _, revision = rest.partition("/revision/")
        repository = self._repository(repo)
        if repository is None:
            return
        found = repository.files(revision or "main")
        if found is None:
            self.answer(404, X_Error_Code="RevisionNotFound", X_Error_Message=f"Invalid rev id: {revision}")
            return
        commit, files = found
        siblings = [
            {
                "rfilename": name,
                "size": len(data),
                "blobId": sha256(data)[:40],
                **(
                    {"lfs": {"sha256": sha256(data), "size": len(data), "pointerSize": 135}}
                    if _in_lfs(name)
                    else {}
                ),
            }
            for name, data in files.items()
        ]
        card = {"license": repository.licence}
        gated = "manual" if repository.gated else False
        model = {
            "id": repo,
            "sha": commit,
            "siblings": siblings,
            "cardData": card,
            "gated": gated,
            "private": False,
        }
        warning = {"X_HF_Warning": self.hub.warning} if self.hub.warning else {}
        self.answer(200, json.dumps(model).encode(), Content_Type="application/json", **warning)

    def _resolve(self, path: str) -> None:
        repo, _, rest = path.partition("/resolve/")
        revision, _, name = rest.partition("/")
        repository = self._repository(repo)
        if repository is None:
            return
        if repository.gated and not self.headers.get("Authorization"):
            self.answer(401, X_Error_Code="GatedRepo", X_Error_Message="Access to this model is restricted.")
            return
        if repository.gated and not repository.granted:
            self.answer(403, X_Error_Code="GatedRepo", X_Error_Message="You are not on the list.")
            return
        found = repository.files(revision)
        if found is None or name not in found[1]:
            code = "RevisionNotFound" if found is None else "EntryNotFound"
            self.answer(404, X_Error_Code=code, X_Error_Message="Entry not found")
            return
        commit, files = found
        digest = sha256(files[name])
        self.answer(
            302,
            Location=f"{self.hub.cdn}/{digest}",
            X_Repo_Commit=commit,
            X_Linked_Size=len(files[name]),
            X_Linked_ETag=f'"{digest}"',
            ETag=f'"{digest}"',
        )


class _Cdn(_Handler):
    """What serves the files themselves: whole or a range of one."""

    def do_GET(self) -> None:
        peek = self.headers.get("Range", "-").rpartition("-")[2] != ""
        asked = self.note(self.hub.peeked if peek else self.hub.served)
        data = self.hub.blob(self.path.strip("/"))
        fault = self.hub.next_fault(peek=peek)
        if isinstance(fault, Status):
            self.fail(fault)
        elif isinstance(fault, LoginPage):
            self.login_page()
        elif data is None:
            self.answer(404)
        else:
            self._send(data, asked.start, asked.end(len(data)), "range" in asked.headers, fault)

    def _send(self, data: bytes, start: int, end: int, ranged: bool, fault: Fault) -> None:
        if isinstance(fault, WholeFile):
            start, ranged = 0, False
        if start >= len(data) and ranged:
            self.answer(416, Content_Range=f"bytes */{len(data)}")
            return
        self.send_response(206 if ranged else 200)
        if ranged:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
            data = data[:end]
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("ETag", f'"{self.path.strip("/")}"')
        self.end_headers()
        if self.command == "HEAD":
            return
        if isinstance(fault, Flip):
            changed = bytearray(data)
            changed[fault.at] ^= 1
            data = bytes(changed)
        self._body(memoryview(data)[start:], fault)

    def _body(self, body: memoryview, fault: Fault) -> None:
        after = fault.after if isinstance(fault, Cut | Stall | WholeFile) else None
        limit = len(body) if after is None else after
        started = time.monotonic()
        try:
            for at in range(0, min(limit, len(body)), _PIECE):
                piece = body[at : min(at + _PIECE, limit)]
                self.wfile.write(piece)
                if isinstance(fault, Slow):
                    due = started + (at + len(piece)) / fault.rate
                    time.sleep(max(0.0, due - time.monotonic()))
            if isinstance(fault, Stall):
                time.sleep(fault.seconds)
        except OSError:  # the client has gone
            self.close_connection = True
        if limit < len(body) or isinstance(fault, Stall):
            self._end(reset=isinstance(fault, Cut) and fault.reset)

    def _end(self, *, reset: bool) -> None:
        self.close_connection = True
        if reset:  # SO_LINGER 0: close with RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.wfile = self.rfile = _Nowhere()  # type: ignore[assignment]


class _Nowhere:
    """Stands for the files of a connection that is closed already."""

    closed = True

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def _in_lfs(name: str) -> bool:
    return name.endswith((".gguf", ".bin", ".safetensors"))


def _bound(handler: type[_Handler], hub: Hub) -> Callable[..., _Handler]:
    return type(handler.__name__, (handler,), {"hub": hub})
