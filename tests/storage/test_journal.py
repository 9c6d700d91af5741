"""The journal writes complete lines only, also on full disks and closed pipes."""

import errno
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest

from ossctl.errors import ExitCode, OssctlError, OutputClosed, UsageError, has_no_reader
from ossctl.storage.compression import TerminalEncoder
from ossctl.storage.journal import FilePolicy, Journal, OutputFile, check_output_path
from ossctl.storage.lock import is_locked
from ossctl.text import harmless

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="modes and links are POSIX")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")


@contextmanager
def journal_at(path: Path, *, overwrite: bool = False) -> Iterator[Journal]:
    with OutputFile(FilePolicy(path), overwrite=overwrite) as output, output.journal() as journal:
        yield journal


def test_each_line_is_in_the_file_as_soon_as_it_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with journal_at(path) as journal:
        for count in range(1, 4):
            journal.append(b'{"a": 1}')
            assert path.read_bytes() == b'{"a": 1}\n' * count


def test_an_existing_file_is_replaced_only_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"precious\n")
    with pytest.raises(UsageError, match=r"out\.jsonl exists") as refusal:
        check_output_path(path, overwrite=False)
    assert "--overwrite" in refusal.value.hint
    assert path.read_bytes() == b"precious\n"
    with journal_at(path, overwrite=True) as journal:
        journal.append(b"new")
    assert path.read_bytes() == b"new\n"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_and_a_missing_folder_are_refused_by_name(tmp_path: Path, overwrite: bool) -> None:
    with pytest.raises(UsageError, match="is a directory"):
        check_output_path(tmp_path, overwrite=overwrite)
    with pytest.raises(UsageError, match=r"cannot write .*out\.jsonl: there is no folder .*missing"):
        check_output_path(tmp_path / "missing" / "out.jsonl", overwrite=overwrite)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot write .*out\.jsonl: there is no folder .*file"):
        check_output_path(tmp_path / "file" / "out.jsonl", overwrite=overwrite)


def test_a_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(UsageError, match="link exists"):
        check_output_path(tmp_path / "link", overwrite=False)
    assert not (tmp_path / "target").exists()


@posix_only
def test_a_dangling_link_is_written_through_only_if_asked(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    check_output_path(tmp_path / "link", overwrite=True)
    with journal_at(tmp_path / "link", overwrite=True):
        pass
    assert (tmp_path / "link").is_symlink(), "nothing was written, and the link is the user's"
    with journal_at(tmp_path / "link", overwrite=True) as journal:
        journal.append(b"line")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"line\n"


@posix_only
def test_a_link_that_leads_nowhere_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "missing" / "target")
    with pytest.raises(UsageError, match=r"cannot write .*link: there is no folder .*missing"):
        check_output_path(tmp_path / "link", overwrite=True)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match=r"cannot write .*loop: Too many levels of symbolic links"):
        check_output_path(tmp_path / "loop", overwrite=True)


def test_lines_for_a_terminal_have_no_control_characters_and_mean_the_same() -> None:
    record = {"answer": "".join(map(chr, range(0x20, 0x180))) + "\x9b2J漢"}
    line = json.dumps(record, ensure_ascii=False).encode()
    file = io.BytesIO()
    Journal(lambda: file, "the terminal", encoder=TerminalEncoder()).append(line)
    assert json.loads(file.getvalue()) == record
    assert harmless(file.getvalue().decode()) == file.getvalue().decode()


@linux_only
def test_a_full_disk_is_reported_with_its_reason() -> None:
    with Journal(lambda: Path("/dev/full").open("wb", buffering=0), "/dev/full") as journal:
        with pytest.raises(OssctlError, match="cannot write /dev/full: No space left on device") as failure:
            journal.append(b"line")
        assert failure.value.exit_code == ExitCode.FAILED


def test_a_pipe_closed_by_its_reader_ends_the_run_quietly() -> None:
    reading, writing = os.pipe()
    with Journal(lambda: io.FileIO(writing, "wb"), "the output") as journal:
        journal.append(b"first")
        assert os.read(reading, 100) == b"first\n"
        os.close(reading)
        with pytest.raises(OutputClosed) as closed:
            journal.append(b"second")
    assert closed.value.exit_code == ExitCode.DONE


class WindowsPipe(io.FileIO):
    """A pipe as Windows reports that its reader is gone."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from None


def test_a_pipe_closed_by_its_reader_ends_the_run_quietly_on_windows_too(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with Journal(lambda: WindowsPipe(writing, "wb"), "the output") as journal, pytest.raises(OutputClosed):
        journal.append(b"line")
    assert has_no_reader(BrokenPipeError(), writing)
    with (tmp_path / "out").open("wb") as file:
        assert not has_no_reader(OSError(errno.EINVAL, ""), file.fileno())


class SmallDisk(io.FileIO):
    """A file on a disk with `space` bytes left; a write takes what fits, and the next one fails."""

    def __init__(self, path: Path, space: int) -> None:
        super().__init__(path, "wb")
        self.space = space

    def write(self, data: "ReadableBuffer", /) -> int:
        if not self.space:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = super().write(memoryview(data)[: self.space])
        self.space -= written
        return written


@pytest.mark.parametrize("space", [7, 10, 13])
def test_a_line_that_did_not_fit_is_removed(tmp_path: Path, space: int) -> None:
    path = tmp_path / "out.jsonl"
    disk = SmallDisk(path, space)
    with Journal(lambda: disk, "out.jsonl") as journal:
        journal.append(b"first")
        with pytest.raises(OssctlError, match=r"cannot write out\.jsonl: No space left") as failure:
            journal.append(b"a longer one")
        assert failure.value.hint == "All lines written so far are complete."
        assert path.read_bytes() == b"first\n"
        disk.space = 100
        journal.append(b"third")
    assert path.read_bytes() == b"first\nthird\n"


class SlowFile(io.FileIO):
    """A file that takes three bytes at a time."""

    def write(self, data: "ReadableBuffer", /) -> int:
        return super().write(memoryview(data)[:3])


def test_a_line_written_in_parts_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with Journal(lambda: SlowFile(path, "wb"), "out.jsonl") as journal:
        journal.append(b"a longer line")
        journal.append(b"")
    assert path.read_bytes() == b"a longer line\n\n"


def test_each_rescue_of_a_deleted_output_is_kept(tmp_path: Path) -> None:
    rescued = tmp_path / "rescued"
    for text in (b"one", b"two", b"three"):
        policy = FilePolicy(tmp_path / "out.jsonl", rescue_dir=rescued)
        with OutputFile(policy, overwrite=False) as output:
            journal = output.journal()
            journal.append(text)
            policy.path.unlink()
            with pytest.raises(OssctlError, match="was deleted or replaced") as failure:
                journal.close()
        (saved,) = (path for path in rescued.iterdir() if path.read_bytes() == text + b"\n")
        assert f"saved as {saved}:" in failure.value.hint
    assert len(list(rescued.iterdir())) == 3


@posix_only
def test_a_rescue_does_not_write_through_a_planted_link(tmp_path: Path) -> None:
    rescued, target = tmp_path / "rescued", tmp_path / "target"
    rescued.mkdir()
    (rescued / "out.jsonl").symlink_to(target)
    policy = FilePolicy(tmp_path / "out.jsonl", rescue_dir=rescued)
    with OutputFile(policy, overwrite=False) as output:
        journal = output.journal()
        journal.append(b"text")
        policy.path.chmod(0o600)
        policy.path.unlink()
        with pytest.raises(OssctlError, match="was deleted or replaced"):
            journal.close()
    assert not target.exists()
    assert (rescued / "out-2.jsonl").stat().st_mode & 0o777 == 0o600


def put(text: bytes) -> Callable[[BinaryIO], None]:
    def write(file: BinaryIO) -> None:
        file.write(text)

    return write


@posix_only
def test_a_replaced_output_is_locked_all_the_time(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"old\n")
    seen = []

    def fsync(_: int) -> None:  # the last step before and the first after the move
        seen.append((path.read_bytes(), is_locked(path)))

    with OutputFile(FilePolicy(path), overwrite=False) as output:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            output.replace(put(b"new\n"))
        assert seen == [(b"old\n", True), (b"new\n", True)]
        with pytest.raises(UsageError, match="another program"):
            OutputFile(FilePolicy(path), overwrite=False)
        with output.journal() as journal:
            journal.append(b"more")
    assert path.read_bytes() == b"new\nmore\n"
    assert not is_locked(path)


@posix_only
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_replaced_output_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"old\n")
    path.chmod(mode)
    with OutputFile(FilePolicy(path), overwrite=False) as output:
        output.replace(put(b"new\n"))
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new\n", mode)


def test_a_failed_replacement_leaves_the_output_and_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"old\n")

    def fail(_: BinaryIO) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with OutputFile(FilePolicy(path), overwrite=False) as output:
        with pytest.raises(OssctlError, match="No space left on device"):
            output.replace(fail)
        with pytest.raises(UsageError, match="another program"):
            OutputFile(FilePolicy(path), overwrite=False)
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"old\n"]
