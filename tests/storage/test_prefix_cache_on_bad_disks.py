"""On a disk that is full, read-only or not ours, the cache of computed prefixes misses and nothing fails."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ossctl.storage.prefix_cache import PrefixCache, clear, entries
from tests.storage.test_prefix_cache import KEY, LARGE, prefix, tokens, total_size

resource = pytest.importorskip("resource")  # POSIX only

MOUNT = shutil.which("mount")
NOBODY = 65534


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if MOUNT is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def cache(folder: Path) -> PrefixCache:
    return PrefixCache(folder / "prefixes", KEY, "nano", LARGE)


def holds(folder: Path, seed: int) -> bool:
    """Whether an entry is found and right."""
    found = cache(folder).find(tokens(500, seed))
    read = cache(folder).load(found) if found else None
    return read is not None and set(read.state) == {seed}


def test_the_cache_leaves_space_on_a_disk_for_others(disk: Path) -> None:
    for seed in range(1, 20):
        assert cache(disk).save(prefix(500, seed, bytes([seed]) * 300_000))
        assert shutil.disk_usage(disk).free > 300_000
    assert holds(disk, 19)
    assert not holds(disk, 1)


def test_what_a_full_disk_holds_is_found_and_nothing_is_added(disk: Path) -> None:
    assert cache(disk).save(prefix(500, 1, bytes([1]) * 300_000))
    with (disk / "other").open("wb", buffering=0) as other:
        while other.write(bytes(4096)) == 4096:
            if not shutil.disk_usage(disk).free:
                break
    before = total_size(disk / "prefixes")
    assert not cache(disk).save(prefix(500, 2, bytes([2]) * 900_000))
    assert total_size(disk / "prefixes") == before
    assert holds(disk, 1)
    (disk / "other").unlink()
    assert cache(disk).save(prefix(500, 2, bytes([2]) * 300_000))
    assert holds(disk, 2)


@pytest.mark.parametrize("limit", [0, 1000, 100_000])
def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path, limit: int) -> None:
    assert cache(tmp_path).save(prefix(500, 1, bytes([1]) * 1000))
    before = total_size(tmp_path / "prefixes")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        assert not cache(tmp_path).save(prefix(500, 2, bytes([2]) * 300_000))
        assert holds(tmp_path, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert total_size(tmp_path / "prefixes") == before
    assert cache(tmp_path).save(prefix(500, 2, bytes([2]) * 300_000))
    assert holds(tmp_path, 2)
    assert len(entries(tmp_path / "prefixes")) == 2


def test_a_read_only_disk_is_read(disk: Path) -> None:
    assert cache(disk).save(prefix(500, 1, bytes([1]) * 1000))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    found = cache(disk).find(tokens(500, 1))
    assert found is not None
    cache(disk).touch(found)
    assert holds(disk, 1)
    assert not cache(disk).save(prefix(500, 2))
    assert len(entries(disk / "prefixes")) == 1
    with pytest.raises(OSError, match="Read-only"):
        clear(disk / "prefixes")


def test_a_read_only_disk_without_a_cache_has_none(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert not holds(disk, 1)
    assert not cache(disk).save(prefix(500))
    assert entries(disk / "prefixes") == []
    assert clear(disk / "prefixes") == 0


@pytest.mark.parametrize("mode", [0o000, 0o500])
def test_a_folder_without_permission_is_a_miss(tmp_path: Path, mode: int) -> None:
    assert cache(tmp_path).save(prefix(500, 1, bytes([1]) * 1000))
    folder = tmp_path / "prefixes"
    folder.chmod(mode)
    try:
        with unprivileged():
            assert cache(tmp_path).find(tokens(500, 2)) is None
            assert not cache(tmp_path).save(prefix(500, 2))
            assert entries(folder) == [] or mode
    finally:
        folder.chmod(0o700)
    assert holds(tmp_path, 1)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Run as a user whom modes of files concern."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
