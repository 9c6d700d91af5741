"""Where a browser's pages come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ossctl.app.tools.browser.page import Page
from ossctl.app.tools.source import KeepGoing


class PageError(Exception):
    """A search or a page is not to be had. The message is for the model."""


@dataclass(frozen=True)
class Hit:
    """A page that a search found, and a passage of it."""

    url: str
    title: str
    passage: str


@dataclass(frozen=True)
class Hits:
    """What a search found, the best first. `note` says what was not searched, if anything."""

    pages: Sequence[Hit]
    note: str = ""


class Library(Protocol):
    """Pages that can be searched and opened, from any thread. Raises PageError."""

    @property
    def name(self) -> str:
        """What it is, for the user."""

    def start(self) -> None:
        """Start what the searches need. Raises OssctlError."""

    def search(self, query: str, n_hits: int, keep_going: KeepGoing) -> Hits:
        """The best pages for a query."""

    def fetch(self, url: str, keep_going: KeepGoing, *, as_source: bool = False) -> Page:
        """A page; `as_source` without any conversion."""

    def close(self) -> None:
        """End what runs in the background."""
