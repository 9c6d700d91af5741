"""A test of the lock never gets in the way of a batch."""

import sys
import threading
from pathlib import Path

import pytest

from ossctl.storage.lock import is_locked, try_lock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="an exclusive lock is the only one there")


def test_a_file_is_locked_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.touch()
    with path.open("r+b") as first, path.open("r+b") as second:
        assert try_lock(first)
        assert is_locked(path)
        assert not try_lock(second)
    assert not is_locked(path)


def test_a_batch_can_start_while_others_test_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.touch()
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            is_locked(path)

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    try:
        refused = 0
        for _ in range(300):
            with path.open("r+b") as file:
                refused += not try_lock(file)
    finally:
        done.set()
        for asker in askers:
            asker.join()
    assert refused == 0


def test_tests_at_the_same_time_do_not_see_each_other(tmp_path: Path) -> None:
    import fcntl

    path = tmp_path / "out.jsonl"
    path.touch()
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert not is_locked(path)
