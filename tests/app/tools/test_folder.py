"""A folder that names from a model cannot leave, whatever else changes in it."""

import errno
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from ossctl.app.tools.folder import Folder, FolderError
from ossctl.errors import UsageError

posix = pytest.mark.skipif(sys.platform == "win32", reason="links and modes of POSIX")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "secret.txt").write_text("secret")
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("one\ntwo\n")
    (root / "sub" / "b.txt").write_text("three\n")
    return Folder(root)


def text(folder: Folder, path: str) -> str:
    return folder.read(path, 100)[0].decode()


def test_reads_a_file_by_every_way_to_write_its_path(folder: Folder) -> None:
    paths = ["sub/b.txt", "./sub/../sub//b.txt", str(folder.root / "sub" / "b.txt")]
    assert [text(folder, path) for path in paths] == ["three\n"] * 3


def test_a_folder_is_told_where_the_system_only_denies_permission(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = os.open

    def denied(name: str, *arguments: Any, **named: Any) -> int:
        if Path(name).name in ("sub", "a.txt"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return usual(name, *arguments, **named)

    monkeypatch.setattr(os, "open", denied)
    monkeypatch.setattr(os, "unlink", denied)
    for use in (lambda: folder.read("sub", 9), lambda: folder.delete("sub")):
        with pytest.raises(FolderError, match="sub is a folder"):
            use()
    with pytest.raises(FolderError, match=r"a\.txt: Permission denied"):
        folder.read("a.txt", 9)


@pytest.mark.parametrize("path", ["../secret.txt", "sub/../../secret.txt", "/etc/hostname", "/", ".."])
def test_a_path_outside_is_refused(folder: Folder, path: str) -> None:
    for use in (lambda: folder.read(path, 9), lambda: folder.write(path, b""), lambda: folder.entries(path)):
        with pytest.raises(FolderError, match="is outside the folder"):
            use()


@posix
def test_links_are_followed_only_within_the_folder(folder: Folder) -> None:
    (folder.root / "inner").symlink_to("sub/b.txt")
    (folder.root / "outer").symlink_to(folder.root.parent)
    (folder.root / "loop").symlink_to("loop")
    assert text(folder, "inner") == "three\n"
    folder.write("inner", b"new\n")
    assert text(folder, "sub/b.txt") == "new\n"
    for path in ("outer/secret.txt", "outer", "outer/new.txt"):
        with pytest.raises(FolderError, match="outside"):
            folder.write(path, b"")
    with pytest.raises(FolderError):
        folder.read("loop", 9)


@posix
def test_a_folder_that_becomes_a_link_after_the_check_is_not_followed(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.root.parent / "b.txt").write_text("secret")

    def swapped(path: object) -> str:
        return str(path)  # as if the link had been put there after the paths were resolved

    monkeypatch.setattr(os.path, "realpath", swapped)
    (folder.root / "link").symlink_to(folder.root.parent, target_is_directory=True)
    (folder.root / "file").symlink_to(folder.root.parent / "b.txt")
    for path in ("link/b.txt", "file"):
        with pytest.raises(FolderError):
            folder.read(path, 9)
    with pytest.raises(FolderError):
        folder.write("link/new.txt", b"x")
    assert not (folder.root.parent / "new.txt").exists()


@posix
def test_what_is_not_a_file_is_refused_at_once(folder: Folder) -> None:
    os.mkfifo(folder.root / "pipe")
    for path, message in {"pipe": "not a regular file", "sub": "is a folder", "": "is a folder"}.items():
        with pytest.raises(FolderError, match=message):
            folder.read(path, 9)
        with pytest.raises(FolderError, match=message):
            folder.write(path, b"")
    for path, message in {
        "x": "there is no file x",
        "a.txt/x": "not a folder",
        "a\0b": "null character",
    }.items():
        with pytest.raises(FolderError, match=message):
            folder.read(path, 9)


@posix
def test_writing_keeps_the_mode_and_leaves_nothing_else(folder: Folder) -> None:
    (folder.root / "a.txt").chmod(0o750)
    folder.write("a.txt", b"new")
    folder.write("new/deep/c.txt", b"c")
    assert stat.S_IMODE((folder.root / "a.txt").stat().st_mode) == 0o750
    assert text(folder, "new/deep/c.txt") == "c"
    folder.delete("new/deep/c.txt")
    assert not folder.exists("new/deep/c.txt")
    assert [entry.path for entry in folder.walk()] == ["a.txt", "new", "sub", "new/deep", "sub/b.txt"]
    assert not [path for path in folder.root.iterdir() if path.suffix == ".part"]


@posix
def test_walking_leaves_out_links_and_hidden_files(folder: Folder) -> None:
    (folder.root / "outer").symlink_to(folder.root.parent)
    (folder.root / ".git").mkdir()
    assert [entry.path for entry in folder.walk()] == ["a.txt", "sub", "sub/b.txt"]
    assert [entry.path for entry in folder.walk("sub")] == ["sub/b.txt"]


def test_a_root_that_is_no_folder_is_an_error_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        Folder(tmp_path / "missing")
