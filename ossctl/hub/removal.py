"""How a model leaves the Hugging Face cache."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.utils import WeakFileLock

from ossctl.hub.cache import RepoFolder, files_in, listed
from ossctl.hub.local import LocalModel

_LOCK_SECONDS = 0.5


@dataclass(frozen=True)
class Removal:
    """What deleting a model takes: `links`, and `contents` that nothing else needs.

    `shared` contents stay: other files, or other repositories, use them.
    """

    folder: RepoFolder
    links: tuple[Path, ...]
    contents: tuple[Path, ...]
    shared: tuple[Path, ...]

    @property
    def n_bytes(self) -> int:
        """What is freed."""
        return sum(path.stat().st_size for path in self.contents)

    def carry_out(self) -> None:
        """Delete it. Raises TimeoutError (it is being fetched), OSError (in use on Windows, forbidden)."""
        with contextlib.ExitStack() as locks:
            for path in self.contents:
                lock = self.folder.lock(path.name.partition(".")[0])
                lock.parent.mkdir(parents=True, exist_ok=True)
                locks.enter_context(WeakFileLock(lock, timeout=_LOCK_SECONDS))
            for path in (*self.links, *self.contents):
                path.unlink(missing_ok=True)
        self._tidy()

    def _tidy(self) -> None:
        """Remove folders and references that have become empty, and the repository's with its last file."""
        for snapshot in listed(self.folder.path / "snapshots"):
            _remove_empty(snapshot)
        alive = {snapshot.name for snapshot in listed(self.folder.path / "snapshots")}
        for ref in [path for path in (self.folder.path / "refs").rglob("*") if path.is_file()]:
            if ref.read_text(encoding="utf-8").strip() not in alive:
                ref.unlink()
        if not alive and not self.folder.parts:
            shutil.rmtree(self.folder.path)


def removal_of(folder: RepoFolder, model: LocalModel | None, parts: Iterable[Path]) -> Removal:
    """What deleting `model`, and the unfinished downloads `parts`, takes."""
    files = model.files if model else ()
    wanted = {(_name_in_snapshot(folder, file), file.resolve()) for file in files}
    there = list(_all_files(folder))
    doomed = [path for path in there if (_name_in_snapshot(folder, path), path.resolve()) in wanted]
    needed = {path.resolve() for path in there if path not in doomed}
    links, contents, shared = [], [], []
    for path in doomed:
        if not path.is_symlink():
            contents.append(path)
            continue
        links.append(path)
        blob = Path(os.path.normpath(path.parent / path.readlink()))
        if path.resolve() in needed:
            shared.append(blob)
        elif blob.is_symlink():  # huggingface-hub keeps what several repositories have in one place
            links.append(blob)
            shared.append(blob.resolve())
        else:
            contents.append(blob)
    unique = (tuple(dict.fromkeys(paths)) for paths in (links, [*contents, *parts], shared))
    return Removal(folder, *unique)


def _name_in_snapshot(folder: RepoFolder, path: Path) -> str:
    return "/".join(path.relative_to(folder.path / "snapshots").parts[1:])


def _all_files(folder: RepoFolder) -> Iterator[Path]:
    for snapshot in folder.snapshots:
        yield from (snapshot / name for name in files_in(snapshot))


def _remove_empty(folder: Path) -> None:
    """Remove `folder` and those in it if there is no file in any."""
    for inner in listed(folder):
        if inner.is_dir() and not inner.is_symlink():
            _remove_empty(inner)
    with contextlib.suppress(OSError):
        folder.rmdir()
