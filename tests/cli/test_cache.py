"""`ossctl cache`: what is on disk can be seen and deleted."""

import json
from pathlib import Path

import numpy as np
import pytest

from ossctl.storage.prefix_cache import PrefixCache, entries
from ossctl.storage.prefix_file import ComputedPrefix
from tests.support.command import ossctl


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache with a chat of one model and a prompt of another."""
    folder = tmp_path / "home" / "cache" / "prefixes"
    for model, owner, n_tokens in (("Small", "", 200), ("Large", "k3m9qx", 100)):
        tokens = np.arange(n_tokens, dtype=np.int32)
        PrefixCache(folder, model.encode(), model, 1 << 30).save(
            ComputedPrefix(tokens, bytes(2_000_000), {}, any_length=True), owner
        )
    return folder


def test_entries_are_listed_and_deleted_by_model(tmp_path: Path, folder: Path) -> None:
    listed = ossctl("cache", "list", cwd=tmp_path)
    head, *rows = [line.split() for line in listed.stdout.splitlines()]
    assert head == ["MODEL", "TOKENS", "SIZE", "LAST", "USED", "CHAT"]
    assert [(row[0], row[1], row[2], row[-1]) for row in rows] == [
        ("Large", "100", "2.0", "k3m9qx"),
        ("Small", "200", "2.0", rows[1][-1]),
    ]
    assert listed.said == ["2 in all, 4.0 MB."]
    record = json.loads(ossctl("cache", "list", "--json", cwd=tmp_path).stdout)
    assert record["schema"] == "ossctl.cache/1"
    assert [(each["model"], each["session"], each["tokens"]) for each in record["entries"]] == [
        ("Large", "k3m9qx", 100),
        ("Small", None, 200),
    ]
    assert ossctl("cache", "clear", "-m", "Small", cwd=tmp_path).said == ["2.0 MB freed."]
    assert [each.model for each in entries(folder)] == ["Large"]
    assert ossctl("cache", "clear", cwd=tmp_path).said == ["2.0 MB freed."]
    assert not list(folder.glob("*.prefix"))
    assert ossctl("cache", "list", cwd=tmp_path).said == ["Nothing is cached."]


def test_a_cache_that_was_never_used_is_empty(tmp_path: Path) -> None:
    assert ossctl("cache", "list", cwd=tmp_path).said == ["Nothing is cached."]
    assert ossctl("cache", "clear", cwd=tmp_path).said == ["0.0 MB freed."]
    assert not (tmp_path / "home" / "cache").exists()


@pytest.mark.parametrize("size", ["much", "-1", "8XB", ""])
def test_a_size_that_is_none_is_refused(tmp_path: Path, size: str) -> None:
    result = ossctl("run", "-m", "nano", f"--cache-size={size}", "Hi", cwd=tmp_path)
    assert result.code == 2
    assert "not a size" in result.stderr


def test_what_was_computed_of_a_chat_is_deleted_with_it(tmp_path: Path, folder: Path) -> None:
    ossctl("chat", "-m", "nano", "-n", "5", cwd=tmp_path, stdin=b"Hello\n")
    (session,) = json.loads(ossctl("sessions", "list", "--json", cwd=tmp_path).stdout)["sessions"]
    tokens = np.arange(100, dtype=np.int32)
    computed = ComputedPrefix(tokens, bytes(10), {}, any_length=True)
    PrefixCache(folder, b"nano", "nano", 1 << 30).save(computed, session["id"])
    assert [each.owner for each in entries(folder)] == [session["id"], "k3m9qx", ""]
    assert ossctl("sessions", "delete", session["id"], "-y", cwd=tmp_path).code == 0
    assert [each.owner for each in entries(folder)] == ["k3m9qx", ""]
