"""The sources that `--files` and `--browser` give."""

from pathlib import Path

from ossctl.app.tools.browser.folder_library import FolderLibrary
from ossctl.app.tools.browser.source import BrowserSource
from ossctl.app.tools.browser.web_library import WebLibrary
from ossctl.app.tools.files.files import FilesSource
from ossctl.settings import Paths

_READ_ONLY, WRITABLE = ":ro", ":rw"
_WEB = "web"


def files_source(given: str) -> FilesSource:
    """The files of `DIR`, which `DIR:rw` lets the model change. Raises UsageError.

    `DIR:ro` is the same as `DIR`, for a folder whose name ends in `:rw`.
    """
    if given.endswith(WRITABLE):
        return FilesSource(_folder(given.removesuffix(WRITABLE)), writable=True)
    return FilesSource(_folder(given.removesuffix(_READ_ONLY)))


def browser_source(given: str) -> BrowserSource:
    """The browser over the documents in `DIR`, or over the web. Raises UsageError."""
    if given == _WEB:
        return BrowserSource(WebLibrary())
    return BrowserSource(FolderLibrary(_folder(given), Paths.from_environment().documents))


def _folder(given: str) -> Path:
    return Path(given).expanduser()
