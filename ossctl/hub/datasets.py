"""Data sets in the Hugging Face cache, and whether the hub can be reached."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import constants

_SECONDS = 5.0  # for a connection; without one, libraries would try for minutes
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def hub_is_reachable() -> bool:
    """Whether a connection to the hub can be made. Behind a proxy that isn't known, and it counts as one."""
    if constants.is_offline_mode():
        return False
    if any(os.environ.get(name) for name in _PROXIES):
        return True
    endpoint = urlsplit(constants.ENDPOINT)
    port = endpoint.port or (80 if endpoint.scheme == "http" else 443)
    try:
        with socket.create_connection((endpoint.hostname or "", port), _SECONDS):
            return True
    except OSError:
        return False


@contextmanager
def offline_mode() -> Iterator[None]:
    """Have huggingface-hub make no requests."""
    usual = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = usual


def cached_dataset(repo: str, revision: str | None) -> Path | None:
    """The folder with the files of a data set, as `hf download` leaves it; None if it isn't there."""
    folder = Path(constants.HF_HUB_CACHE) / f"datasets--{repo.replace('/', '--')}"
    if revision is None:
        try:
            revision = (folder / "refs" / "main").read_text("utf-8").strip()
        except OSError:
            return None
    found = folder / "snapshots" / revision
    return found if found.is_dir() else None
