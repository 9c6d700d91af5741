"""The sources that `--files` and `--browser` give."""

import os
from pathlib import Path

from ossctl.app.tools.browser.folder_library import FolderLibrary
from ossctl.app.tools.browser.source import BrowserSource
from ossctl.app.tools.browser.web_library import WebLibrary
from ossctl.app.tools.files.files import FilesSource
from ossctl.app.user_text import EMPTY_PATH
from ossctl.errors import UsageError
from ossctl.settings import Paths

_READ_ONLY, WRITABLE = ":ro", ":rw"
_WEB, _SERVER = "web", "mcp:"


def files_source(given: str) -> FilesSource:
    """The files of `DIR`, which `DIR:rw` lets the model change. Raises UsageError.

    `DIR:ro` is the same as `DIR`, for a folder whose name ends in `:rw`.
    """
    mode = next((each for each in (WRITABLE, _READ_ONLY) if given.endswith(each)), "")
    return FilesSource(_folder(given.removesuffix(mode), "--files", mode), writable=mode == WRITABLE)


def browser_source(given: str, seconds: float) -> BrowserSource:
    """The browser over the documents in `DIR`, over the `web`, or over the search server `mcp:COMMAND|URL`.

    A call of the server takes at most `seconds`. Raises UsageError.
    """
    if given == _WEB:
        return BrowserSource(WebLibrary())
    if given.startswith(_SERVER):
        return _server_source(given.removeprefix(_SERVER), seconds)
    return BrowserSource(FolderLibrary(_folder(given, "--browser"), Paths.from_environment().documents))


def _server_source(given: str, seconds: float) -> BrowserSource:
    from ossctl.app.tools.browser.server_library import ServerLibrary  # only where it is used: asyncio
    from ossctl.app.tools.mcp.given import servers_given

    servers = servers_given([given], "--browser mcp")
    if len(servers) > 1:
        names = ", ".join(server.name for server in servers)
        raise UsageError(f"--browser needs one of {len(servers)} MCP servers", f"Give mcp:NAME=FILE: {names}")
    return BrowserSource(ServerLibrary(servers[0], seconds))


def _folder(given: str, option: str, mode: str = "") -> Path:
    if not given:
        raise UsageError(f"{option} {mode}: {EMPTY_PATH}")
    folder = Path(os.path.expanduser(given))  # noqa: PTH111 (never raises)
    if not folder.is_dir():
        raise UsageError(
            f"{option} {given}: {'not a folder' if folder.exists() else 'there is no such folder'}"
        )
    return folder
