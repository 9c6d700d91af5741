"""Delete models from the Hugging Face cache."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.utils import WeakFileLock

from ossctl.hub.cache import RepoFolder, files_in, list_folder
from ossctl.hub.local import LocalModel

_LOCK_SECONDS = 0.5


@dataclass(frozen=True)
class Removal:
    """The files that deleting a model removes: symlinks, and `contents` that nothing else uses.

    `shared` contents are kept because other snapshots or repositories use them.
    """

    folder: RepoFolder
    links: tuple[Path, ...]
    contents: tuple[Path, ...]
    shared: tuple[Path, ...]

    @property
    def n_bytes(self) -> int:
        """Bytes freed."""
        return sum(path.stat().st_size for path in self.contents)

    def delete(self) -> None:
        """Delete the files.

        Raises TimeoutError if another process is fetching one of them, and OSError (no permission; in use on
        Windows).
        """
        with contextlib.ExitStack() as locks:
            for path in self.contents:
                lock = self.folder.lock(path.name.partition(".")[0])
                lock.parent.mkdir(parents=True, exist_ok=True)
                locks.enter_context(WeakFileLock(lock, timeout=_LOCK_SECONDS))
            for path in (*self.links, *self.contents):
                path.unlink(missing_ok=True)
        self._prune()

    def _prune(self) -> None:
        """Remove empty snapshots and the refs to them, and the folder of a repository without files."""
        for snapshot in list_folder(self.folder.path / "snapshots"):
            _remove_if_empty(snapshot)
        remaining = {snapshot.name for snapshot in list_folder(self.folder.path / "snapshots")}
        for ref in [path for path in (self.folder.path / "refs").rglob("*") if path.is_file()]:
            if ref.read_text(encoding="utf-8").strip() not in remaining:
                ref.unlink()
        if not remaining and not self.folder.incomplete_files:
            shutil.rmtree(self.folder.path)


def removal_of(folder: RepoFolder, model: LocalModel | None, incomplete: Iterable[Path]) -> Removal:
    """Find what to delete for `model` and the partial downloads `incomplete`."""
    files = model.files if model else ()
    targets = {(_name_in_snapshot(folder, file), file.resolve()) for file in files}
    present = list(_all_files(folder))
    deleted = [path for path in present if (_name_in_snapshot(folder, path), path.resolve()) in targets]
    needed = {path.resolve() for path in present if path not in deleted}
    links, contents, shared = [], [], []
    for path in deleted:
        if not path.is_symlink():
            contents.append(path)
            continue
        links.append(path)
        blob = Path(os.path.normpath(path.parent / path.readlink()))
        if path.resolve() in needed:
            shared.append(blob)
        elif blob.is_symlink():  # into huggingface-hub's store for blobs of several repositories
            links.append(blob)
            shared.append(blob.resolve())
        else:
            contents.append(blob)
    unique = (tuple(dict.fromkeys(paths)) for paths in (links, [*contents, *incomplete], shared))
    return Removal(folder, *unique)


def _name_in_snapshot(folder: RepoFolder, path: Path) -> str:
    return "/".join(path.relative_to(folder.path / "snapshots").parts[1:])


def _all_files(folder: RepoFolder) -> Iterator[Path]:
    for snapshot in folder.snapshots:
        yield from (snapshot / name for name in files_in(snapshot))


def _remove_if_empty(folder: Path) -> None:
    """Remove the folders in `folder` that contain no files, and `folder` itself if it is one."""
    for inner in list_folder(folder):
        if inner.is_dir() and not inner.is_symlink():
            _remove_if_empty(inner)
    with contextlib.suppress(OSError):
        folder.rmdir()
