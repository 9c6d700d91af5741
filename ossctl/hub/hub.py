"""Query the Hugging Face Hub for the files of a model, and translate its errors.

All requests use huggingface-hub's session, so HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, proxies and certificates
work as in its other tools.
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
from ossctl.hub.retry import RETRYABLE, Backoff, reason
from ossctl.hub.shards import shard_names

_COMMIT, _SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")
_CHECK_NETWORK = "Check HF_ENDPOINT and proxies, and whether this network requires a login in a browser."
_API_ATTEMPTS = 5  # within four seconds, so that a missing network is reported soon
_API_TIMEOUT = 15.0  # seconds; the hub answers within one


@dataclass(frozen=True)
class HubFile:
    """A file of a repository at a commit."""

    repo: str
    commit: str
    name: str
    n_bytes: int
    sha256: str

    @property
    def url(self) -> str:
        return hf_hub_url(self.repo, self.name, revision=self.commit)


@dataclass(frozen=True)
class HubModel:
    """A model in a repository, with its shards in order. `licence` is "" if it is not given."""

    reference: HubReference
    files: tuple[HubFile, ...]
    licence: str

    @property
    def n_bytes(self) -> int:
        return sum(file.n_bytes for file in self.files)


class Unreachable(ModelError):
    """The hub cannot be reached, or HF_HUB_OFFLINE is set."""


def find_model(reference: HubReference, wait: Callable[[float, str], None]) -> HubModel:
    """Ask the hub for the files of a model. `wait(seconds, reason)` sleeps before a retry.

    Raises ModelError (no such repository, revision or file; no access; no network) and UsageError (the
    reference is not valid or selects several models).
    """
    info = _model_info(reference, wait)
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    wanted = shard_names(select(reference, list(siblings)))
    missing = [name for name in wanted if name not in siblings]
    if missing:
        raise ModelError(f"{reference.repo} lacks {missing[0]}, a shard of this model")
    files = [_hub_file(reference.repo, info.sha, siblings[name]) for name in wanted]
    licence = info.card_data.license if info.card_data else None
    return HubModel(reference, tuple(files), licence if isinstance(licence, str) else "")


def _model_info(reference: HubReference, wait: Callable[[float, str], None]) -> ModelInfo:
    """The repository's metadata, with sizes and hashes of all files."""
    logger = logging.getLogger("huggingface_hub")
    logger.setLevel(logging.ERROR)  # warnings would garble the progress bar
    try:
        return Backoff(wait, _API_ATTEMPTS).call(
            lambda: HfApi().model_info(
                reference.repo, revision=reference.revision, files_metadata=True, timeout=_API_TIMEOUT
            )
        )
    except HFValidationError as error:
        raise UsageError(f"{reference.repo} is not a valid repository name: {error}") from None
    except (httpx2.HTTPError, OfflineModeIsEnabled) as error:
        raise to_model_error(error, reference.repo, reference.revision) from None
    except OSError as error:  # its token file
        raise ModelError(f"cannot read {error.filename}: {error.strerror}", "Check HF_HOME.") from None
    except (ValueError, TypeError):  # a login page, for example
        message = f"{constants.ENDPOINT} does not respond like the Hugging Face Hub"
        raise ModelError(message, _CHECK_NETWORK) from None


def _hub_file(repo: str, commit: str | None, sibling: RepoSibling) -> HubFile:
    """Raises ModelError if a hash or size is missing, or the name or commit is not safe as a path."""
    sha256 = sibling.lfs.sha256 if sibling.lfs else ""
    if not sha256 or sibling.size is None:
        raise ModelError(
            f"{constants.ENDPOINT} gives no hash or size for {sibling.rfilename} in {repo}",
            "Downloads cannot be verified without them.",
        )
    path = PurePosixPath(sibling.rfilename)
    safe = not path.is_absolute() and ".." not in path.parts and not set("\\:") & set(sibling.rfilename)
    if not (safe and _COMMIT.fullmatch(commit or "") and _SHA256.fullmatch(sha256)):
        raise ModelError(f"{constants.ENDPOINT} lists a file of {repo} under an unsafe name")
    return HubFile(repo, str(commit), sibling.rfilename, sibling.size, sha256)


def to_model_error(error: Exception, repo: str, revision: str = "") -> ModelError:
    """The error to show for a failed request about `repo`."""
    page = f"{constants.ENDPOINT}/{repo}"
    if isinstance(error, OfflineModeIsEnabled):
        return Unreachable("HF_HUB_OFFLINE is set", "Unset it to fetch models.")
    if isinstance(error, GatedRepoError):
        hint = f"Request access at {page}, then run `hf auth login` or set HF_TOKEN."
        return ModelError(f"{repo} is gated: its owners have to grant you access", hint)
    if isinstance(error, RevisionNotFoundError):
        return ModelError(f"{repo} has no revision {revision}", f"{page}/tree/main lists them.")
    if isinstance(error, RemoteEntryNotFoundError):
        return ModelError(f"{repo} no longer has that file", f"{page}/tree/main lists its files.")
    return _status_error(error, repo) if isinstance(error, HfHubHTTPError) else _network_error(error)


def _network_error(error: Exception) -> ModelError:
    if isinstance(error, httpx2.NetworkError | httpx2.TimeoutException | httpx2.ProxyError):
        return Unreachable(f"cannot reach {constants.ENDPOINT}: {reason(error)}", "Check the network.")
    return ModelError(f"cannot fetch from {constants.ENDPOINT}: {reason(error)}", _CHECK_NETWORK)


def _status_error(error: HfHubHTTPError, repo: str) -> ModelError:
    code = error.response.status_code
    if code == 401 and "credentials" in error.response.headers.get("X-Error-Message", ""):
        return ModelError(
            f"{constants.ENDPOINT} rejected your token", "Run `hf auth login`, or check HF_TOKEN."
        )
    if code in (401, 404):
        return ModelError(
            f"{constants.ENDPOINT} has no public repository {repo}",
            "Check its name. If it is private, run `hf auth login` or set HF_TOKEN.",
        )
    if code == 403:
        return ModelError(
            f"{constants.ENDPOINT} denied access to {repo}", "Your token may lack permission to read it."
        )
    hint = "Try again later." if code in RETRYABLE else ""
    return ModelError(f"{constants.ENDPOINT} cannot serve {repo}: {reason(error)}", hint)
