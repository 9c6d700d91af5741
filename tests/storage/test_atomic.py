"""Files are written whole or not at all, keep their mode, and are not written through planted links."""

import errno
import os
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from ossctl.app.chat.export import save_new
from ossctl.errors import OssctlError, UsageError
from ossctl.storage import atomic
from ossctl.storage.atomic import Replacement, atomic_write

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="modes and links are POSIX")


@posix_only
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_a_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "answer.txt"
    path.write_bytes(b"old")
    path.chmod(mode)
    atomic_write(path, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", mode)


@posix_only
def test_a_new_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        atomic_write(tmp_path / "new.txt", b"new")
    finally:
        os.umask(umask)
    assert (tmp_path / "new.txt").stat().st_mode & 0o777 == 0o640


@posix_only
def test_a_secret_file_is_never_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "answer.txt"
    path.touch(0o600)
    with Replacement(path):
        assert {each.stat().st_mode & 0o777 for each in tmp_path.iterdir()} == {0o600}


def test_temporary_names_differ_and_are_left_to_nobody(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250 + ".txt")  # as long as a name can be
    seen = set()
    for _ in range(8):
        with Replacement(path) as replacement:
            seen |= {each.name for each in tmp_path.iterdir()} - {path.name}
            replacement.write(b"new")
            replacement.commit()
    assert len(seen) == 8
    assert list(tmp_path.iterdir()) == [path]


@posix_only
def test_a_planted_link_is_not_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    monkeypatch.setattr("secrets.token_hex", lambda _: "guessed")
    (tmp_path / ".guessed.part").symlink_to(victim)
    with pytest.raises(OssctlError, match=r"cannot write .*File exists"):
        atomic_write(tmp_path / "answer.txt", b"new")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / ".guessed.part").is_symlink()  # it is not ours to delete


def test_a_file_that_cannot_be_synced_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "answer.txt"
    path.write_bytes(b"old")

    def fsync(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OssctlError, match="Input/output error"):
        atomic_write(path, b"new")
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"old"]


@posix_only
def test_a_new_file_is_not_written_through_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(UsageError, match="link exists"):
        save_new(tmp_path / "link", "text")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    ("platform", "refusals", "tries", "content"),
    [("win32", 2, 3, b"new"), ("win32", 99, 2, b"old"), ("linux", 1, 1, b"old")],
)
def test_a_file_that_another_program_reads_is_replaced_a_little_later_on_windows(
    platform: str, refusals: int, tries: int, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, tried = Path.replace, 0

    def refusing(part: Path, target: Path) -> Path:
        nonlocal tried
        tried += 1
        if tried <= refusals:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return usual(part, target)

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(Path, "replace", refusing)
    if refusals == 99:
        monkeypatch.setattr(atomic, "_RENAME_SECONDS", 0.01)
    with monkeypatch.context() as there:
        there.setattr(sys, "platform", platform)
        with nullcontext() if content == b"new" else pytest.raises(OssctlError, match="Permission denied"):
            atomic_write(path, b"new")
    assert (tried, path.read_bytes(), [*tmp_path.iterdir()]) == (tries, content, [path])
