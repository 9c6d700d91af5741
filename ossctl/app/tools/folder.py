"""A folder that file names from a model cannot leave: by `..`, absolute paths, links, or a race."""

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ossctl.errors import UsageError

_NEW_FILE_MODE = 0o666  # less the umask
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe must not block
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_ENTER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

# Windows cannot open a file relative to an open folder. There, paths are checked before they are opened.
_RELATIVE = os.open in os.supports_dir_fd


class FolderError(Exception):
    """A file cannot be read or written. The message is for the model."""


@dataclass(frozen=True)
class Entry:
    """A file or folder in the folder. `path` has slashes on every system."""

    path: str
    n_bytes: int
    modified_ns: int
    is_folder: bool


class Folder:
    """Reads and writes files below the folder `root`. Links that stay in it are followed.

    Other programs may change the folder at any time. Paths are relative to it, with slashes. Every method
    raises FolderError.
    """

    def __init__(self, root: Path) -> None:
        """Raises UsageError if there is no such folder."""
        if not root.is_dir():
            raise UsageError(f"{root} is not a folder" if root.exists() else f"there is no folder {root}")
        self.root = Path(os.path.realpath(root))

    def relative(self, path: str) -> str:
        """The path with its links resolved; "" is the folder itself. The file need not exist."""
        if "\0" in path:
            raise FolderError("the path contains a null character")
        if sys.platform == "win32" and ":" in path.removeprefix(self.root.drive):
            raise FolderError(f"{path} is not in the folder")  # another drive, or a stream of a file
        try:
            inside = Path(os.path.realpath(self.root / path)).relative_to(self.root)
        except ValueError:
            raise FolderError(f"{path} is outside the folder") from None
        except OSError as error:
            raise FolderError(f"{path}: {error.strerror}") from None
        return "" if inside == Path() else inside.as_posix()

    def read(self, path: str, limit: int) -> tuple[bytes, os.stat_result]:
        """At most the first `limit` bytes of a file, and its status."""
        inside = PurePosixPath(self.relative(path))
        with _explained(path), self._parent(inside) as parent, parent.opened(inside.name, _READ) as opened:
            status = os.fstat(opened)
            _refuse_irregular(path, status)
            with open(opened, "rb", closefd=False) as file:
                return file.read(limit), status

    def write(self, path: str, data: bytes) -> None:
        """Create or replace a file, whole or not at all, and create its folder. A mode is kept."""
        inside = PurePosixPath(self.relative(path))
        with _explained(path), self._parent(inside, create=True) as parent:
            old = parent.status(inside.name)
            if old is not None:
                _refuse_irregular(path, old)
            parent.replace(inside.name, data, old)

    def delete(self, path: str) -> None:
        """Delete a file."""
        inside = PurePosixPath(self.relative(path))
        with _explained(path), self._parent(inside) as parent:
            parent.delete(inside.name)

    def exists(self, path: str) -> bool:
        """Whether there is something at `path`."""
        return os.path.lexists(self.root / self.relative(path))

    def is_file(self, path: str) -> bool:
        """Whether there is a regular file at `path`."""
        return (self.root / self.relative(path)).is_file()

    def walk(self, path: str = "", keep_going: Callable[[], bool] = lambda: True) -> Iterator[Entry]:
        """The files and folders below `path`, sorted within each folder, without links and hidden ones.

        Folders that cannot be read are left out, except for `path` itself.
        """
        start = self.relative(path)
        with _explained(path):
            entries = self._entries(start)
        waiting = [entries]
        while waiting and keep_going():
            entries = waiting.pop()
            yield from entries
            for entry in reversed(entries):
                if entry.is_folder:
                    with contextlib.suppress(OSError):
                        waiting.append(self._entries(entry.path))

    def entries(self, path: str = "") -> list[Entry]:
        """The files and folders in one folder."""
        with _explained(path):
            return self._entries(self.relative(path))

    def _entries(self, path: str) -> list[Entry]:
        found = []
        with self._parent(PurePosixPath(path, "x")) as folder, os.scandir(folder.handle) as items:
            for item in items:
                if item.name.startswith(".") or item.is_symlink() or not item.name.isprintable():
                    continue
                try:
                    status = item.stat(follow_symlinks=False)
                except OSError:  # it is gone
                    continue
                name = f"{path}/{item.name}" if path else item.name
                is_folder = stat.S_ISDIR(status.st_mode)
                if is_folder or stat.S_ISREG(status.st_mode):
                    found.append(Entry(name, status.st_size, status.st_mtime_ns, is_folder))
        return sorted(found, key=lambda entry: entry.path)

    @contextmanager
    def _parent(self, inside: PurePosixPath, *, create: bool = False) -> Iterator["_Parent"]:
        """Open the folder of a resolved path, which contains no link unless one has just been put there."""
        if not inside.name:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not _RELATIVE:
            folder = self.root / inside.parent
            if create:
                folder.mkdir(parents=True, exist_ok=True)
            if Path(os.path.realpath(folder)) != folder:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            yield _Parent(None, folder)
            return
        with contextlib.ExitStack() as stack:
            current = _Parent(os.open(self.root, _ENTER | _NO_LINK), self.root)
            stack.callback(current.close)
            for name in inside.parent.parts:
                current = current.enter(name, create=create)
                stack.callback(current.close)
            yield current


class _Parent:
    """An open folder, and what is done to the files in it by their names."""

    def __init__(self, descriptor: int | None, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path

    @property
    def handle(self) -> int | Path:
        return self._path if self._descriptor is None else self._descriptor

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def enter(self, name: str, *, create: bool) -> "_Parent":
        if create:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=self._descriptor)
        path = self._path / name
        return _Parent(os.open(name, _ENTER | _NO_LINK, dir_fd=self._descriptor), path)

    @contextmanager
    def opened(self, name: str, flags: int, mode: int = 0) -> Iterator[int]:
        with self._folders_told(name):
            descriptor = os.open(self._named(name), flags | _NO_LINK, mode, dir_fd=self._descriptor)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def status(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(self._named(name), dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def delete(self, name: str) -> None:
        with self._folders_told(name):
            os.unlink(self._named(name), dir_fd=self._descriptor)

    @contextmanager
    def _folders_told(self, name: str) -> Iterator[None]:
        """Raise IsADirectoryError for a folder: Windows, and macOS to delete one, only deny permission."""
        try:
            yield
        except PermissionError:
            status = self.status(name)
            if status is not None and stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None
            raise

    def replace(self, name: str, data: bytes, old: os.stat_result | None) -> None:
        """Write a new file under a name that cannot be guessed, and rename it."""
        part = f".{secrets.token_hex(8)}.part"
        try:
            with self.opened(part, _CREATE, _NEW_FILE_MODE) as descriptor:
                if old is not None and sys.platform != "win32":
                    with contextlib.suppress(OSError):  # only root can give a file away
                        os.fchown(descriptor, old.st_uid, old.st_gid)
                    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
                with open(descriptor, "wb", closefd=False) as file:
                    file.write(data)
                os.fsync(descriptor)
            os.replace(
                self._named(part),
                self._named(name),
                src_dir_fd=self._descriptor,
                dst_dir_fd=self._descriptor,
            )
        except BaseException:
            with contextlib.suppress(OSError):
                self.delete(part)
            raise

    def _named(self, name: str) -> str:
        return name if self._descriptor is not None else str(self._path / name)


def _refuse_irregular(path: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise FolderError(f"{path} is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise FolderError(f"{path} is not a regular file")


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Raise what the system reports as FolderError."""
    path = path or "."
    try:
        yield
    except FileNotFoundError:
        raise FolderError(f"there is no file {path}") from None
    except (IsADirectoryError, NotADirectoryError) as error:
        raise FolderError(
            f"{path} is {'' if isinstance(error, IsADirectoryError) else 'not '}a folder"
        ) from None
    except OSError as error:
        raise FolderError(f"{path}: {error.strerror or error}") from None
