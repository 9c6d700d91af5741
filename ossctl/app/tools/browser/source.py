"""The browser as functions for any number of conversations."""

from collections.abc import Sequence

from ossctl.app.tools.browser.browser import Browser
from ossctl.app.tools.browser.functions import FIND, OPEN, SEARCH
from ossctl.app.tools.browser.library import Library
from ossctl.dialect import Tool


class BrowserSource:
    """Search, open and find in the pages of a library. Each conversation has its own cursors."""

    concurrent = False  # the order of calls gives the cursors

    def __init__(self, library: Library) -> None:
        self._library = library

    def tools(self) -> Sequence[Tool]:
        self._library.start()
        return (SEARCH, OPEN, FIND)

    def describe(self, name: str, /) -> str:
        verbs = {SEARCH.name: "searches", OPEN.name: "opens", FIND.name: "finds in"}
        return f"{verbs[name]} {self._library.name}"

    def notes(self) -> Sequence[str]:
        return [f"The model can search {self._library.name} without asking."]

    def open(self) -> Browser:
        return Browser(self._library)

    def close(self) -> None:
        self._library.close()
