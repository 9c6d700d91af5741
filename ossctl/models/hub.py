"""The hub: what a repository holds, and its errors in words.

Everything goes through huggingface-hub's session, so HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, proxies and
certificates are those of every other tool that uses it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import parse_ratelimit_headers

from ossctl.errors import ModelError, UsageError
from ossctl.models.reference import HubReference, select
from ossctl.models.shards import names_of_model

_T = TypeVar("_T")

_API_SECONDS = 15.0  # the hub answers within one; a line that is down should not look like one that is slow

# A request is repeated on these; what they have in common is that waiting may help.
_TOO_MANY = 429
_BUSY = (408, _TOO_MANY, 500, 502, 503, 504)
_ATTEMPTS = 12  # of a download without a byte of progress: two and a half minutes, as a router takes to start
_API_ATTEMPTS = 5  # four seconds: whoever has no network should hear it soon
_SHORTEST_WAIT = 0.25
_LONGEST_WAIT = 30.0
_LONGEST_RETRY_AFTER = 600.0


@dataclass(frozen=True)
class HubFile:
    """A file at a commit."""

    repo: str
    commit: str
    name: str
    n_bytes: int
    sha256: str

    @property
    def url(self) -> str:
        """Where the hub has it; what is there never changes, for the address holds the commit."""
        return hf_hub_url(self.repo, self.name, revision=self.commit)


@dataclass(frozen=True)
class HubModel:
    """A model in a repository: the files of its shards, the first one first. `licence` is "" if not said."""

    reference: HubReference
    files: tuple[HubFile, ...]
    licence: str

    @property
    def n_bytes(self) -> int:
        return sum(file.n_bytes for file in self.files)


class Unreachable(ModelError):
    """There is no way to the hub, or the user wants none."""


class Patience:
    """Waits between attempts, longer each time, as the server asks where it does; progress renews it."""

    def __init__(self, wait: Callable[[float, str], None], attempts: int = _ATTEMPTS) -> None:
        """`wait(seconds, why)` sleeps, and is the place to show that."""
        self._wait = wait
        self._limit = attempts
        self._attempts = 0

    def progress(self) -> None:
        self._attempts = 0

    def after(self, error: Exception) -> None:
        """Wait, or raise `error` where waiting does not help or has been tried enough."""
        self._attempts += 1
        if not _may_pass(error) or self._attempts >= self._limit:
            raise error
        asked = _retry_after(error)
        seconds = min(_SHORTEST_WAIT * 2 ** (self._attempts - 1), _LONGEST_WAIT) if asked is None else asked
        if seconds > _LONGEST_RETRY_AFTER:
            raise error
        self._wait(seconds, reason(error))

    def call(self, function: Callable[[], _T]) -> _T:
        """What `function` returns, after as many attempts as that takes."""
        while True:
            try:
                return function()
            except httpx2.HTTPError as error:
                self.after(error)


def find_model(reference: HubReference, wait: Callable[[float, str], None]) -> HubModel:
    """Ask the hub for the files of a model.

    Raises ModelError (no such repository, revision or file; no access; no network), UsageError (the
    reference selects several models).
    """
    try:
        info = Patience(wait, _API_ATTEMPTS).call(
            lambda: HfApi().model_info(
                reference.repo, revision=reference.revision, files_metadata=True, timeout=_API_SECONDS
            )
        )
    except HFValidationError as error:
        raise UsageError(f"{reference.repo} is not the name of a repository: {error}") from None
    except (httpx2.HTTPError, OfflineModeIsEnabled) as error:
        raise in_words(error, reference.repo, reference.revision) from None
    except OSError as error:  # of its own files: the token's
        raise ModelError(f"cannot read {error.filename}: {error.strerror}", "Check HF_HOME.") from None
    except ValueError:  # not JSON: the page of a proxy, or of a network that wants a login
        raise ModelError(
            f"{constants.ENDPOINT} does not answer as the hub does",
            "Check HF_ENDPOINT, and whether this network asks for a login in a browser.",
        ) from None
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    wanted = names_of_model(select(reference, list(siblings)))
    missing = [name for name in wanted if name not in siblings]
    if missing:
        raise ModelError(f"{reference.repo} lacks {missing[0]}, a part of this model")
    commit = info.sha or ""
    files = []
    for name in wanted:
        sibling = siblings[name]
        sha256 = sibling.lfs.sha256 if sibling.lfs else ""
        if not sha256 or sibling.size is None:
            raise ModelError(
                f"{constants.ENDPOINT} gives no hash and size for {name} in {reference.repo}",
                "Without them a download cannot be checked.",
            )
        files.append(HubFile(reference.repo, commit, name, sibling.size, sha256))
    licence = info.card_data.license if info.card_data else None
    return HubModel(reference, tuple(files), licence if isinstance(licence, str) else "")


def reason(error: Exception) -> str:
    """Why a request failed, in a few words."""
    if isinstance(error, HfHubHTTPError):
        code = error.response.status_code
        known = {_TOO_MANY: "too many requests", 503: "busy"}.get(code, error.response.reason_phrase)
        return f"the server said {code}, {known}"
    if isinstance(error, httpx2.TimeoutException):
        return "the server stopped sending"
    if isinstance(error, httpx2.ConnectError):
        return f"no connection ({error})"
    if isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError):
        return "the connection broke"
    return str(error)


def in_words(error: Exception, repo: str, revision: str = "") -> ModelError:
    """What to tell the user of a failed request about `repo`."""
    page = f"{constants.ENDPOINT}/{repo}"
    if isinstance(error, OfflineModeIsEnabled):
        return Unreachable("HF_HUB_OFFLINE is set, so nothing is fetched", "Unset it to go online.")
    if isinstance(error, GatedRepoError):
        hint = f"Ask for access at {page}, then log in with `hf auth login` or set HF_TOKEN."
        return ModelError(f"{repo} is gated: its owners decide who may fetch it", hint)
    if isinstance(error, RevisionNotFoundError):
        return ModelError(f"{repo} has no revision {revision}", f"{page}/tree/main lists them.")
    if isinstance(error, RemoteEntryNotFoundError):
        return ModelError(f"{repo} no longer has that file", f"{page} shows what it has.")
    if isinstance(error, HfHubHTTPError):
        return _refused(error, repo)
    return Unreachable(f"cannot reach {constants.ENDPOINT}: {reason(error)}", "Check the network.")


def _refused(error: HfHubHTTPError, repo: str) -> ModelError:
    code = error.response.status_code
    log_in = "For a private one log in with `hf auth login` or set HF_TOKEN."
    if code == 401 and "credentials" in error.response.headers.get("X-Error-Message", ""):
        return ModelError(
            f"{constants.ENDPOINT} does not accept your token", "Run `hf auth login`, or check HF_TOKEN."
        )
    if code in (401, 404):
        return ModelError(
            f"there is no public repository {repo} on {constants.ENDPOINT}", f"Check its name. {log_in}"
        )
    if code == 403:
        return ModelError(
            f"{constants.ENDPOINT} refuses access to {repo}", "Your token may lack the right to read it."
        )
    hint = "Try again later." if code in _BUSY else ""
    return ModelError(f"{constants.ENDPOINT} cannot serve {repo}: {reason(error)}", hint)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _BUSY
    return isinstance(error, httpx2.TransportError)


def _retry_after(error: Exception) -> float | None:
    """Seconds that the server asks to wait: the hub's own RateLimit, or Retry-After with a number."""
    if not isinstance(error, HfHubHTTPError):
        return None
    headers = error.response.headers
    limit = parse_ratelimit_headers(headers)
    if error.response.status_code == _TOO_MANY and limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    value = headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None
