"""The Hugging Face cache, shared with other tools: its layout, and the models in it.

    models--ORG--REPO/
        blobs/<sha256>                  file contents
        blobs/<sha256>.incomplete       a partial download
        snapshots/<commit>/FILE         symlinks to the blobs, or the files where symlinks are not supported
        refs/<branch or tag>            the commit
    .locks/models--ORG--REPO/<sha256>.lock

See huggingface.co/docs/huggingface_hub/guides/manage-cache.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from ossctl.errors import NoHome
from ossctl.hub.catalogue import catalogue
from ossctl.hub.local import LocalModel, Origin, group_shards
from ossctl.hub.reference import MAIN, HubReference, select

_REPO_PREFIX = "models--"
_SHORT_COMMIT = 8  # characters, where a name includes the commit
_SHORTEST_COMMIT = 7  # characters; fewer could be the name of a branch


def hub_cache() -> Path:
    """huggingface-hub's cache folder: HF_HUB_CACHE, by default inside HF_HOME. Raises NoHome."""
    try:
        return Path(constants.HF_HUB_CACHE).expanduser()
    except RuntimeError:
        raise NoHome from None


@dataclass(frozen=True)
class RepoFolder:
    """A repository's folder in the cache."""

    path: Path

    @classmethod
    def of(cls, repo: str) -> "RepoFolder":
        return cls(hub_cache() / (_REPO_PREFIX + repo.replace("/", "--")))

    @property
    def repo(self) -> str:
        return self.path.name.removeprefix(_REPO_PREFIX).replace("--", "/", 1)

    def blob(self, sha256: str) -> Path:
        return self.path / "blobs" / sha256

    def incomplete(self, sha256: str) -> Path:
        """The file that a download appends to."""
        return self.path / "blobs" / f"{sha256}.incomplete"

    def lock(self, sha256: str) -> Path:
        """The lock that huggingface-hub takes to download a file."""
        return self.path.parent / ".locks" / self.path.name / f"{sha256}.lock"

    def pointer(self, commit: str, name: str) -> Path:
        """The path of a file in the snapshot of `commit`."""
        return self.path / "snapshots" / commit / name

    @property
    def incomplete_files(self) -> list[Path]:
        """Partial downloads, including those of other tools."""
        return sorted((self.path / "blobs").glob("*.incomplete"))

    @property
    def snapshots(self) -> list[Path]:
        """The snapshot folders: `main` first, then by date, newest first."""
        folders = [folder for folder in list_folder(self.path / "snapshots") if folder.is_dir()]
        main = self.commit_of(MAIN)
        return sorted(folders, key=lambda f: (f.name != main, -f.stat().st_mtime))

    def commit_of(self, revision: str) -> str:
        """The commit that a branch or tag last resolved to; "" if it was never resolved."""
        with contextlib.suppress(OSError):
            return (self.path / "refs" / revision).read_text(encoding="utf-8").strip()
        return ""

    def models(self) -> Iterator[LocalModel]:
        """Every model, with files that several commits share listed under the newest one."""
        seen: set[Path] = set()
        names: set[str] = set()
        for snapshot in self.snapshots:
            for first, files, missing in group_shards(files_in(snapshot), snapshot):
                blobs = {file.resolve() for file in files}
                if blobs <= seen:
                    continue
                seen |= blobs
                name = self._name_of(first, MAIN)
                if name in names:
                    name = str(HubReference(self.repo, first, snapshot.name[:_SHORT_COMMIT]))
                names.add(name)
                yield LocalModel(name, Origin.HUB, files, missing, self.repo, snapshot.name, first)

    def find(self, reference: HubReference) -> LocalModel | None:
        """The model that `reference` selects, if it is cached. Raises UsageError if it selects several."""
        for snapshot in self.snapshots:
            if not self._is_at(reference.revision, snapshot.name):
                continue
            models = list(group_shards(files_in(snapshot), snapshot))
            firsts = [first for first, _, _ in models if reference.selects(first)]
            if firsts:
                wanted = select(reference, firsts)
                first, files, missing = next(model for model in models if model[0] == wanted)
                name = self._name_of(first, reference.revision)
                return LocalModel(name, Origin.HUB, files, missing, self.repo, snapshot.name, first)
        return None

    def _is_at(self, revision: str, commit: str) -> bool:
        """Whether `revision` can mean `commit`. Any commit will do for main: the newest is tried first."""
        return revision == MAIN or commit == self.commit_of(revision) or _abbreviates(revision, commit)

    def _name_of(self, first: str, revision: str) -> str:
        known = catalogue().name_of(self.repo, first, revision)
        return known or str(HubReference(self.repo, first, revision))

    def link(self, sha256: str, commit: str, name: str) -> Path:
        """Create the pointer to a blob: a symlink, or the file itself where symlinks are not supported."""
        blob, pointer = self.blob(sha256), self.pointer(commit, name)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.unlink(missing_ok=True)
        target = os.path.relpath(blob, pointer.parent)
        with contextlib.suppress(OSError):
            if not constants.HF_HUB_DISABLE_SYMLINKS:
                pointer.symlink_to(target)
                return pointer
        blob.replace(pointer)
        return pointer

    def write_ref(self, revision: str, commit: str) -> None:
        """Record what `revision` resolves to, for use offline."""
        if revision == commit:
            return
        path = self.path / "refs" / revision
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")  # containers share process ids
        temporary.write_text(commit, encoding="utf-8")
        temporary.replace(path)


def repo_folders() -> list[RepoFolder]:
    """Every model repository in the cache."""
    folders = list_folder(hub_cache())
    return [
        RepoFolder(path) for path in sorted(folders) if path.name.startswith(_REPO_PREFIX) and path.is_dir()
    ]


def files_in(snapshot: Path) -> list[str]:
    """The names of the files in a snapshot, relative to it, without broken links."""
    return [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]


def _abbreviates(revision: str, commit: str) -> bool:
    return len(revision) >= _SHORTEST_COMMIT and commit.startswith(revision)


def list_folder(folder: Path) -> list[Path]:
    """The entries of `folder`; none if it is missing or not readable."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []
