"""The Hugging Face cache, which other tools share: its layout, and the models in it.

    models--ORG--REPO/
        blobs/<sha256>                  the files' contents
        blobs/<sha256>.incomplete       what a download has so far
        snapshots/<commit>/FILE         links to the blobs, or where links are not possible the files
        refs/<branch or tag>            the commit
    .locks/models--ORG--REPO/<sha256>.lock

This is documented at huggingface.co/docs/huggingface_hub/guides/manage-cache.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from ossctl.hub.catalogue import catalogue
from ossctl.hub.local import LocalModel, Origin, models_among
from ossctl.hub.reference import MAIN, HubReference, select

_REPO_PREFIX = "models--"
_COMMIT_CHARACTERS = 8  # of a commit, where it has to be named
_SHORTEST_COMMIT = 7  # fewer could be the name of a branch


def hub_cache() -> Path:
    """Where huggingface-hub keeps what it downloads: HF_HUB_CACHE, below HF_HOME."""
    return Path(constants.HF_HUB_CACHE).expanduser()


@dataclass(frozen=True)
class RepoFolder:
    """The folder of one repository in the cache."""

    path: Path

    @classmethod
    def of(cls, repo: str) -> "RepoFolder":
        return cls(hub_cache() / (_REPO_PREFIX + repo.replace("/", "--")))

    @property
    def repo(self) -> str:
        return self.path.name.removeprefix(_REPO_PREFIX).replace("--", "/", 1)

    def blob(self, sha256: str) -> Path:
        return self.path / "blobs" / sha256

    def part(self, sha256: str) -> Path:
        """What is there of an unfinished download."""
        return self.path / "blobs" / f"{sha256}.incomplete"

    def lock(self, sha256: str) -> Path:
        """The lock that huggingface-hub takes to download a file."""
        return self.path.parent / ".locks" / self.path.name / f"{sha256}.lock"

    def pointer(self, commit: str, name: str) -> Path:
        """The path under which a file is used."""
        return self.path / "snapshots" / commit / name

    @property
    def parts(self) -> list[Path]:
        """Unfinished downloads, ours and those of other tools."""
        return sorted((self.path / "blobs").glob("*.incomplete"))

    @property
    def snapshots(self) -> list[Path]:
        """The folders of all commits, what `main` means first, then the newest."""
        folders = [folder for folder in listed(self.path / "snapshots") if folder.is_dir()]
        main = self.commit_of(MAIN)
        return sorted(folders, key=lambda f: (f.name != main, -f.stat().st_mtime))

    def commit_of(self, revision: str) -> str:
        """The commit that a branch or tag meant when it was last asked for; "" if it never was."""
        with contextlib.suppress(OSError):
            return (self.path / "refs" / revision).read_text(encoding="utf-8").strip()
        return ""

    def models(self) -> Iterator[LocalModel]:
        """Every model, once: what an older commit has too is the newer one's."""
        seen: set[Path] = set()
        names: set[str] = set()
        for snapshot in self.snapshots:
            for first, files, missing in models_among(files_in(snapshot), snapshot):
                blobs = {file.resolve() for file in files}
                if blobs <= seen:
                    continue
                seen |= blobs
                name = self._name_of(first, MAIN)
                if name in names:
                    name = str(HubReference(self.repo, first, snapshot.name[:_COMMIT_CHARACTERS]))
                names.add(name)
                yield LocalModel(name, Origin.HUB, files, missing, self.repo, snapshot.name, first)

    def find(self, reference: HubReference) -> LocalModel | None:
        """The model that `reference` means, if it is here. Raises UsageError if it means several."""
        for snapshot in self.snapshots:
            if not self._holds(snapshot.name, reference.revision):
                continue
            models = list(models_among(files_in(snapshot), snapshot))
            firsts = [first for first, _, _ in models if reference.selects(first)]
            if firsts:
                wanted = select(reference, firsts)
                first, files, missing = next(model for model in models if model[0] == wanted)
                name = self._name_of(first, reference.revision)
                return LocalModel(name, Origin.HUB, files, missing, self.repo, snapshot.name, first)
        return None

    def _holds(self, commit: str, revision: str) -> bool:
        """Whether `revision` may mean `commit`. For main any will do: the newest comes first."""
        return revision == MAIN or commit == self.commit_of(revision) or _abbreviates(revision, commit)

    def _name_of(self, first: str, revision: str) -> str:
        known = catalogue().name_of(self.repo, first, revision)
        return known or str(HubReference(self.repo, first, revision))

    def link(self, sha256: str, commit: str, name: str) -> Path:
        """Put the blob where `name` is looked for, as a link, or itself where links are not possible."""
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

    def note_revision(self, revision: str, commit: str) -> None:
        """Remember what `revision` means, for the time without a network."""
        if revision == commit:
            return
        path = self.path / "refs" / revision
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        new.write_text(commit, encoding="utf-8")
        new.replace(path)


def repo_folders() -> list[RepoFolder]:
    """Every repository of models in the cache."""
    folders = listed(hub_cache())
    return [
        RepoFolder(path) for path in sorted(folders) if path.name.startswith(_REPO_PREFIX) and path.is_dir()
    ]


def files_in(snapshot: Path) -> list[str]:
    """The names of the files in a snapshot that have contents, as the repository spells them."""
    return [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]


def _abbreviates(revision: str, commit: str) -> bool:
    return len(revision) >= _SHORTEST_COMMIT and commit.startswith(revision)


def listed(folder: Path) -> list[Path]:
    """What is in `folder`; nothing where there is none."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []
