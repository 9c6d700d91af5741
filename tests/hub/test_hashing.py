"""Hashes of files, whole ones and those that grow."""

import hashlib
import random
import time
from pathlib import Path
from threading import active_count

import pytest

from ossctl.hub.hashing import FollowingHash, sha256_of

DATA = random.Random(0).randbytes(10_000_000)


@pytest.mark.parametrize("size", [0, 1, 4 * 1024 * 1024, len(DATA)])
def test_the_hash_of_a_file(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA[:size])
    seen: list[int] = []
    assert sha256_of(path, seen.append) == hashlib.sha256(DATA[:size]).hexdigest()
    assert seen == sorted(seen)
    assert seen[-1:] == ([size] if size else [])


@pytest.mark.parametrize("seed", range(5))
def test_a_file_is_hashed_while_it_grows_and_begins_anew(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path / "file"
    with path.open("ab", buffering=0) as file, FollowingHash(path) as digest:
        for last in (False, False, True):
            written = 0
            while written < (len(DATA) if last else rng.randrange(len(DATA))):
                written += file.write(DATA[written : written + rng.randrange(1, 2_000_000)])
                digest.grown(written)
                time.sleep(rng.random() / 1000)
            if not last:
                file.truncate(0)
                digest.begun_anew()
        assert digest.result() == hashlib.sha256(DATA).hexdigest()


def test_only_what_was_said_to_be_written_is_hashed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with FollowingHash(path) as digest:
        digest.grown(1000)
        assert digest.result() == hashlib.sha256(DATA[:1000]).hexdigest()


def test_a_file_that_cannot_be_read_is_an_error_at_the_end(tmp_path: Path) -> None:
    with FollowingHash(tmp_path / "missing") as digest, pytest.raises(FileNotFoundError):
        digest.result()


def interrupted(path: Path) -> None:
    with FollowingHash(path) as digest:
        digest.grown(len(DATA))
        raise KeyboardInterrupt


def test_an_interrupt_leaves_no_thread_behind(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    before = active_count()
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    assert active_count() == before
