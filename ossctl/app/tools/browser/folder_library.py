"""The documents in a folder, with an index on disk that follows their changes."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ossctl.app.tools.browser.documents import MAX_BYTES, MAX_CHARACTERS, document_page, is_pdf, pdf_page
from ossctl.app.tools.browser.folder_update import FolderUpdate, version_of
from ossctl.app.tools.browser.library import Hit, Hits, PageError
from ossctl.app.tools.browser.page import Page
from ossctl.app.tools.folder import Folder, FolderError
from ossctl.app.tools.source import KeepGoing
from ossctl.errors import OssctlError
from ossctl.storage.text_index import TextIndex


class FolderLibrary:
    """The files below a folder. A page's URL is the path of its file, relative to the folder."""

    def __init__(self, root: Path, cache: Path) -> None:
        """Nothing is read yet. The index is a file in the folder `cache`. Raises UsageError."""
        self._folder = Folder(root)
        name = hashlib.sha256(str(self._folder.root).encode("utf-8", "replace")).hexdigest()[:16]
        self._index = TextIndex(cache / f"{name}.db")
        self._update = FolderUpdate(self._folder, self._index, self._read)

    @property
    def name(self) -> str:
        return f"documents in {self._folder.root}"

    def start(self) -> None:
        """Nothing has to run before the first search."""

    def search(self, query: str, n_hits: int, keep_going: KeepGoing) -> Hits:
        note = self._update.refresh(keep_going)
        try:
            found = self._index.search(query, n_hits, keep_going)
        except OssctlError as error:
            raise PageError(error.message) from None
        return Hits([Hit(match.path, match.title or match.path, match.passage) for match in found], note)

    def fetch(self, url: str, keep_going: KeepGoing, *, as_source: bool = False) -> Page:
        last: PageError | None = None
        for path in _paths(url):
            try:
                return self._read(path, keep_going, as_source=as_source)
            except FolderError as error:
                last = last or PageError(str(error))
        raise last or PageError(f"{url} is not in this folder of documents, and nothing else can be opened")

    def close(self) -> None:
        self._update.close()

    def _read(self, path: str, keep_going: KeepGoing, *, as_source: bool = False) -> Page:
        """Read a file as a page. Raises FolderError and PageError."""
        if is_pdf(path):
            data, status = self._folder.read(path, MAX_BYTES)
            if (body := self._known(path, version_of(status.st_size, status.st_mtime_ns))) is not None:
                return Page(path, *body)
            return pdf_page(path, data, keep_going)
        data, status = self._folder.read(path, MAX_CHARACTERS)
        return document_page(path, data, cut=status.st_size > len(data), as_source=as_source)

    def _known(self, path: str, version: str) -> tuple[str, str] | None:
        try:
            return self._index.text(path, version)
        except OssctlError:
            return None


def _paths(url: str) -> Iterator[str]:
    """The paths that a URL may mean: as it is, and without what only URLs have."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    if parts.netloc or parts.scheme not in {"", "file"}:
        return
    yield url
    yield unquote(parts.path).lstrip("/")
