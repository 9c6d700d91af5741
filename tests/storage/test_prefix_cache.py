"""Computed prefixes on disk: found by their tokens, never wrong, never in the way."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from ossctl.storage.lock import try_lock
from ossctl.storage.prefix_cache import BLOCK, PrefixCache, clear, entries
from ossctl.storage.prefix_file import ComputedPrefix, write_prefix
from ossctl.storage.prefix_index import Origin, open_index

KEY = b"model and settings"
LARGE = 1 << 40


def tokens(n: int, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.random.default_rng(seed).integers(0, 50_000, n).astype(np.int32)


def prefix(n: int, seed: int = 0, state: bytes = b"state", *, any_length: bool = True) -> ComputedPrefix:
    return ComputedPrefix(tokens(n, seed), state, {}, any_length)


def cache(folder: Path, key: bytes = KEY, max_bytes: int = LARGE) -> PrefixCache:
    return PrefixCache(folder / "prefixes", key, "nano", max_bytes)


def test_a_prefix_is_found_and_read_as_it_was_written(tmp_path: Path) -> None:
    written = ComputedPrefix(tokens(1000), os.urandom(5000), {700: b"window", 1000: b""}, any_length=False)
    assert cache(tmp_path).save(written)
    found = cache(tmp_path).find(tokens(1000))
    assert found is not None
    assert found.n_tokens == 1000
    read = cache(tmp_path).load(found)
    assert read is not None
    assert np.array_equal(read.tokens, written.tokens)
    assert (read.state, read.snapshots, read.any_length) == (written.state, written.snapshots, False)


def test_the_longest_common_prefix_wins_to_the_token(tmp_path: Path) -> None:
    for n in (100, 900, 500):
        cache(tmp_path).save(prefix(n))
    cache(tmp_path).save(prefix(2000, seed=1))
    prompt = np.concatenate([tokens(777), tokens(500, seed=2)])
    found = cache(tmp_path).find(prompt)
    assert found is not None
    assert found.n_tokens == 777


@pytest.mark.parametrize("n", [0, 1, BLOCK - 1])
def test_short_prompts_and_short_prefixes_are_not_found(tmp_path: Path, n: int) -> None:
    assert not cache(tmp_path).save(prefix(n))
    cache(tmp_path).save(prefix(500))
    assert cache(tmp_path).find(tokens(n)) is None


def test_a_window_is_found_only_where_a_snapshot_is(tmp_path: Path) -> None:
    cache(tmp_path).save(ComputedPrefix(tokens(900), b"s", {300: b"a", 610: b"b"}, any_length=False))
    lengths = {}
    for shared in (250, 320, 650, 899, 900):
        found = cache(tmp_path).find(np.concatenate([tokens(shared), tokens(100, seed=5)]))
        lengths[shared] = found.n_tokens if found else 0
    assert lengths == {250: 0, 320: 300, 650: 610, 899: 610, 900: 900}


def test_what_another_key_has_computed_is_never_found(tmp_path: Path) -> None:
    cache(tmp_path, b"other weights").save(prefix(500))
    assert cache(tmp_path).find(tokens(500)) is None


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "replaced", "gone"])
@pytest.mark.parametrize("where", [0.01, 0.5, 0.999])
def test_damage_is_a_miss(tmp_path: Path, damage: str, where: float) -> None:
    cache(tmp_path).save(prefix(500, state=bytes(10_000)))
    (file,) = (tmp_path / "prefixes").glob("*.prefix")
    data = bytearray(file.read_bytes())
    at = int(len(data) * where)
    if damage == "flipped":
        data[at] ^= 4
    damaged = {"cut": bytes(data[:at]), "emptied": b"", "replaced": b"x" * len(data)}
    file.write_bytes(damaged.get(damage, bytes(data)))
    if damage == "gone":
        file.unlink()
    found = cache(tmp_path).find(tokens(500))
    assert found is None or cache(tmp_path).load(found) is None
    assert cache(tmp_path).save(prefix(500, state=b"again"))
    found = cache(tmp_path).find(tokens(500))
    assert found is not None
    read = cache(tmp_path).load(found)
    assert read is not None
    assert read.state == b"again"


@pytest.mark.parametrize("damage", ["no database", "cut", "another version", "emptied", "its end"])
def test_a_damaged_index_is_replaced(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "prefixes"
    for seed in range(30):
        cache(tmp_path).save(prefix(2000, seed))
    data = (folder / "index.db").read_bytes()
    if damage == "another version":
        with closing(sqlite3.connect(folder / "index.db")) as index:
            index.execute("PRAGMA user_version = 99")
    else:
        damaged = {
            "no database": b"no database at all" * 500,
            "cut": data[: len(data) // 2],
            "emptied": b"",
            "its end": data[:4096] + bytes(len(data) - 4096),
        }
        (folder / "index.db").write_bytes(damaged[damage])
    found = cache(tmp_path).find(tokens(2000))
    assert found is None or cache(tmp_path).load(found) is not None
    assert any(cache(tmp_path).save(prefix(2000, seed)) for seed in (40, 40))
    assert cache(tmp_path).find(tokens(2000, 40)) is not None
    assert {each.n_tokens for each in entries(folder)} == {2000}
    clear(folder)
    assert not list(folder.glob("*.prefix"))


def test_the_least_recently_used_make_space(tmp_path: Path) -> None:
    small = cache(tmp_path, max_bytes=3 * 12_500)
    for seed in range(3):
        small.save(prefix(500, seed, bytes(10_000)))
    first = small.find(tokens(500, 0))
    assert first is not None
    small.touch(first)
    small.save(prefix(500, 3, bytes(10_000)))
    assert [seed for seed in range(4) if small.find(tokens(500, seed))] == [0, 2, 3]
    assert sum(file.stat().st_size for file in (tmp_path / "prefixes").glob("*.prefix")) < 3 * 12_500
    assert not small.save(prefix(500, 4, bytes(100_000)))
    assert len(entries(tmp_path / "prefixes")) == 3


def test_a_smaller_limit_holds_for_what_is_there_already(tmp_path: Path) -> None:
    for seed in range(4):
        cache(tmp_path).save(prefix(500, seed, bytes(10_000)))
    small = cache(tmp_path, max_bytes=2 * 12_500)
    small.shrink()
    assert [seed for seed in range(4) if small.find(tokens(500, seed))] == [2, 3]
    assert len(list((tmp_path / "prefixes").glob("*.prefix"))) == 2


def test_a_conversation_has_its_latest_state_only(tmp_path: Path) -> None:
    cache(tmp_path).save(prefix(500), "chat-1")
    cache(tmp_path).save(prefix(600, seed=1), "chat-2")
    cache(tmp_path).save(prefix(900), "chat-1")
    found = entries(tmp_path / "prefixes")
    assert [(each.owner, each.n_tokens, each.model) for each in found] == [
        ("chat-1", 900, "nano"),
        ("chat-2", 600, "nano"),
    ]
    assert clear(tmp_path / "prefixes", owner="chat-1") > 0
    assert [each.owner for each in entries(tmp_path / "prefixes")] == ["chat-2"]
    assert len([*(tmp_path / "prefixes").glob("*.prefix")]) == 1
    clear(tmp_path / "prefixes", model="nano")
    assert entries(tmp_path / "prefixes") == []


def test_files_that_a_killed_program_left_are_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "prefixes"
    cache(tmp_path).save(prefix(500))
    with open_index(folder) as index:  # killed before or after it made space, or while it wrote
        for name in ("no file.prefix", "cut.prefix"):
            index.reserve(name, Origin(KEY, "nano"), 100, 1 << 39)
    for name in ("no entry.prefix", "cut.prefix", "being written.prefix", "my.txt"):
        (folder / name).write_bytes(b"x")
    with (folder / "being written.prefix").open("rb") as file:
        assert try_lock(file)
        assert cache(tmp_path).save(prefix(500, seed=1))
    left = {file.name for file in folder.iterdir()}
    assert left >= {"being written.prefix", "my.txt"}
    assert not left & {"no entry.prefix", "cut.prefix"}
    assert cache(tmp_path, max_bytes=1 << 39).save(prefix(500, seed=2))  # nothing is reserved any more
    assert len(entries(folder)) == 3
    clear(folder)
    assert {file.name for file in folder.iterdir()} == {"index.db", "my.txt"}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_only_the_user_can_read_it(tmp_path: Path) -> None:
    cache(tmp_path).save(prefix(500))
    folder = tmp_path / "prefixes"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


def test_a_folder_that_cannot_be_made_is_a_cache_without_entries(tmp_path: Path) -> None:
    (tmp_path / "prefixes").write_text("a file, not a folder")
    assert cache(tmp_path).find(tokens(500)) is None
    assert not cache(tmp_path).save(prefix(500))
    assert entries(tmp_path / "prefixes") == []


def test_an_index_that_another_process_holds_is_a_miss(tmp_path: Path) -> None:
    cache(tmp_path).save(prefix(500))
    other = sqlite3.connect(tmp_path / "prefixes" / "index.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    started = time.perf_counter()
    try:
        assert cache(tmp_path).find(tokens(500)) is None
        assert time.perf_counter() - started < 2  # an answer waits for this
        assert not cache(tmp_path).save(prefix(500, seed=1))
    finally:
        other.close()
    assert cache(tmp_path).find(tokens(500)) is not None


WRITER = """
import sys
from pathlib import Path
import numpy as np
from ossctl.storage.prefix_cache import PrefixCache
from ossctl.storage.prefix_file import ComputedPrefix
cache = PrefixCache(Path(sys.argv[1]), b"model and settings", "nano", int(sys.argv[3]))
print("ready", flush=True)
for seed in range(int(sys.argv[2]), int(sys.argv[2]) + 1_000_000):
    tokens = np.random.default_rng(seed).integers(0, 50_000, 500).astype(np.int32)
    cache.save(ComputedPrefix(tokens, bytes([seed % 256]) * 200_000, {}, True))
"""


@pytest.mark.parametrize("rounds", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_two_programs_write_at_once_and_a_killed_one_leaves_no_wrong_entry(
    tmp_path: Path, rounds: int
) -> None:
    folder = tmp_path / "prefixes"
    for start in range(0, rounds * 10_000, 10_000):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, folder, str(start + offset), str(LARGE)],
                stdout=subprocess.PIPE,
            )
            for offset in (0, 5_000)
        ]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        time.sleep(random.uniform(0.05, 0.15))
        for writer in writers:
            writer.send_signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
            writer.communicate()
    read = 0
    for start in range(0, rounds * 10_000, 5_000):
        for seed in range(start, start + 200):
            found = cache(tmp_path).find(tokens(500, seed))
            if found is not None:
                loaded = cache(tmp_path).load(found)
                assert loaded is not None
                assert loaded.state == bytes([seed % 256]) * 200_000
                read += 1
    assert read >= 2 * rounds
    assert read == len(entries(folder))
    clear(folder)
    assert [file.name for file in folder.iterdir()] == ["index.db"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("seconds", [0.5, pytest.param(20, marks=pytest.mark.slow)])
def test_several_programs_keep_the_limit_at_all_times(tmp_path: Path, seconds: float) -> None:
    folder, limit = tmp_path / "prefixes", 1_500_000
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, folder, str(start), str(limit)], stdout=subprocess.PIPE
        )
        for start in (0, 1_000_000, 2_000_000)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        largest, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(random.uniform(0, 0.02))
            for number in (signal.SIGSTOP, signal.SIGCONT):
                for writer in writers:
                    writer.send_signal(number)
                if number == signal.SIGSTOP:
                    largest = max(largest, total_size(folder))
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    assert 1_000_000 < largest < limit + 10_000
    assert len(entries(folder)) >= 3


def total_size(folder: Path) -> int:
    """Bytes of all cached files, those that are being written included."""
    total = 0
    for file in folder.glob("*.prefix"):
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


@pytest.mark.slow
def test_ten_thousand_entries_are_found_listed_and_evicted_quickly(tmp_path: Path) -> None:
    folder = tmp_path / "prefixes"
    head = tokens(1000)
    some = cache(tmp_path, max_bytes=10_001 * 16_005)
    some.save(ComputedPrefix(np.concatenate([head, tokens(3000, 1)]), b"state", {}, any_length=True))
    with open_index(folder) as index:  # as 10,000 programs would do it
        for seed in range(2, 10_001):
            computed = ComputedPrefix(
                np.concatenate([head, tokens(3000, seed)]), b"state", {}, any_length=True
            )
            with (folder / f"{seed}.prefix").open("xb", buffering=0) as file:
                write_prefix(file, KEY, computed)
            entry = index.reserve(f"{seed}.prefix", Origin(KEY, "nano"), 4000, computed.n_bytes)
            index.complete(entry, some._usable_hashes(computed))

    def milliseconds(do: Callable[[], object]) -> float:
        times = []
        for _ in range(5):
            started = time.perf_counter()
            do()
            times.append(time.perf_counter() - started)
        return 1000 * sorted(times)[2]

    assert len(entries(folder)) == 10_000
    held = np.concatenate([head, tokens(3000, 5000)])
    new = np.concatenate([head, tokens(3000, 20_000)])
    other = tokens(120_000, 30_000)
    lengths = [found.n_tokens if (found := some.find(prompt)) else 0 for prompt in (held, new, other)]
    assert lengths == [4000, 1000, 0]
    seeds = iter(range(40_000, 50_000))
    measured = {
        "find": milliseconds(lambda: some.find(held)),
        "find a part": milliseconds(lambda: some.find(new)),
        "find nothing in 120,000 tokens": milliseconds(lambda: some.find(other)),
        "list": milliseconds(lambda: entries(folder)),
        "save": milliseconds(lambda: some.save(prefix(4000, next(seeds)))),
    }
    print(measured)
    assert len(entries(folder)) <= 10_001
    assert measured["find"] < 10
    assert measured["find a part"] < 10
    assert measured["find nothing in 120,000 tokens"] < 50
    assert measured["list"] < 200
    assert measured["save"] < 500
