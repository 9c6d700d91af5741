"""The hub: what a repository holds, and its errors in words.

Everything goes through huggingface-hub's session, so HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, proxies and
certificates are those of every other tool that uses it.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

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
from huggingface_hub.hf_api import ModelInfo, RepoSibling

from ossctl.errors import ModelError, UsageError
from ossctl.hub.reference import HubReference, select
from ossctl.hub.retry import BUSY, Patience, reason
from ossctl.hub.shards import names_of_model

_COMMIT, _SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")
_STRANGE = "Check HF_ENDPOINT and proxies, and whether this network asks for a login in a browser."
_API_ATTEMPTS = 5  # four seconds: whoever has no network should hear it soon
_API_SECONDS = 15.0  # the hub answers within one; a line that is down should not look like one that is slow


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


def find_model(reference: HubReference, wait: Callable[[float, str], None]) -> HubModel:
    """Ask the hub for the files of a model.

    Raises ModelError (no such repository, revision or file; no access; no network), UsageError (the
    reference selects several models).
    """
    info = _ask(reference, wait)
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    wanted = names_of_model(select(reference, list(siblings)))
    missing = [name for name in wanted if name not in siblings]
    if missing:
        raise ModelError(f"{reference.repo} lacks {missing[0]}, a part of this model")
    files = [_file(reference.repo, info.sha, siblings[name]) for name in wanted]
    licence = info.card_data.license if info.card_data else None
    return HubModel(reference, tuple(files), licence if isinstance(licence, str) else "")


def _ask(reference: HubReference, wait: Callable[[float, str], None]) -> ModelInfo:
    """The hub's answer, with sizes and hashes of all files."""
    quiet = logging.getLogger("huggingface_hub")
    quiet.setLevel(logging.ERROR)  # its warnings would tear the display, and errors come as exceptions
    try:
        return Patience(wait, _API_ATTEMPTS).call(
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
    except (ValueError, TypeError):  # the page of a proxy, or of a network that wants a login
        raise ModelError(f"{constants.ENDPOINT} does not answer as the hub does", _STRANGE) from None


def _file(repo: str, commit: str | None, sibling: RepoSibling) -> HubFile:
    """Raises ModelError where a hash or size is missing, or what would become a path is not of its form."""
    sha256 = sibling.lfs.sha256 if sibling.lfs else ""
    if not sha256 or sibling.size is None:
        raise ModelError(
            f"{constants.ENDPOINT} gives no hash and size for {sibling.rfilename} in {repo}",
            "Without them a download cannot be checked.",
        )
    path = PurePosixPath(sibling.rfilename)
    safe = not path.is_absolute() and ".." not in path.parts and not set("\\:") & set(sibling.rfilename)
    if not (safe and _COMMIT.fullmatch(commit or "") and _SHA256.fullmatch(sha256)):
        raise ModelError(f"{constants.ENDPOINT} names a file of {repo} in a way that is not safe to store")
    return HubFile(repo, str(commit), sibling.rfilename, sibling.size, sha256)


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
    return _refused(error, repo) if isinstance(error, HfHubHTTPError) else _lost(error)


def _lost(error: Exception) -> ModelError:
    if isinstance(error, httpx2.NetworkError | httpx2.TimeoutException | httpx2.ProxyError):
        return Unreachable(f"cannot reach {constants.ENDPOINT}: {reason(error)}", "Check the network.")
    return ModelError(f"cannot fetch from {constants.ENDPOINT}: {reason(error)}", _STRANGE)


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
    hint = "Try again later." if code in BUSY else ""
    return ModelError(f"{constants.ENDPOINT} cannot serve {repo}: {reason(error)}", hint)
