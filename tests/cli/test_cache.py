"""`ossctl cache`: what is on disk can be seen and deleted."""

import json
import random
import time
from pathlib import Path

import numpy as np
import pytest

from ossctl.app.library.resolve import NANO_FILE
from ossctl.runtime.gguf import read_header
from ossctl.storage.prefix_cache import PrefixCache, entries
from ossctl.storage.prefix_file import ComputedPrefix
from tests.support.command import ossctl, records_in, start, write_jsonl
from tests.support.models import smollm2


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
    assert ossctl("cache", "list", "-m", "Large", cwd=tmp_path).said == ["1 in all, 2.0 MB."]
    assert ossctl("cache", "clear", "-m", "Small", cwd=tmp_path).said == ["2.0 MB freed."]
    assert [each.model for each in entries(folder)] == ["Large"]
    assert ossctl("cache", "clear", cwd=tmp_path).said == ["2.0 MB freed."]
    assert not list(folder.glob("*.prefix"))
    assert ossctl("cache", "list", cwd=tmp_path).said == ["Nothing is cached."]


def test_a_cache_that_was_never_used_is_empty(tmp_path: Path) -> None:
    assert ossctl("cache", "list", cwd=tmp_path).said == ["Nothing is cached."]
    assert ossctl("cache", "clear", cwd=tmp_path).said == ["0.0 MB freed."]
    assert not (tmp_path / "home" / "cache").exists()


def test_a_model_is_named_as_for_loading_or_as_in_the_list(tmp_path: Path, folder: Path) -> None:
    name = str(read_header(NANO_FILE).metadata["general.name"])
    computed = ComputedPrefix(np.arange(100, dtype=np.int32), bytes(10), {}, any_length=True)
    PrefixCache(folder, b"nano", name, 1 << 30).save(computed)
    for given in ("nano", name, str(NANO_FILE)):
        listed = json.loads(ossctl("cache", "list", "--json", "-m", given, cwd=tmp_path).stdout)
        assert [each["model"] for each in listed["entries"]] == [name]
    assert ossctl("cache", "clear", "-m", "nano", cwd=tmp_path).code == 0
    assert [each.model for each in entries(folder)] == ["Large", "Small"]
    for command in ("list", "clear"):
        unknown = ossctl("cache", command, "-m", "smal", cwd=tmp_path)
        assert (unknown.code, unknown.said) == (
            2,
            [
                "ossctl: no model called smal is on this machine or in the cache",
                "`ossctl cache list` shows the names.",
            ],
        )
    assert [each.model for each in entries(folder)] == ["Large", "Small"]


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


SMOLLM2 = ("-m", smollm2(), "--ctx", 4096, "-n", 4, "-t", 0)
N_WORDS = 2200  # more than a second's prefill also on a fast machine


def words(seed: int) -> str:
    return " ".join(random.Random(seed).choices(["river", "house", "letter", "doctor", "window"], k=N_WORDS))


@pytest.mark.slow
@pytest.mark.parametrize("given", ["file", "system text", "piped"])
def test_another_question_in_another_process_computes_the_question_only(tmp_path: Path, given: str) -> None:
    (tmp_path / "text.txt").write_text(words(1))
    options = {"file": ("-f", "text.txt"), "system text": ("--system", words(1)), "piped": ()}[given]
    stdin = words(1).encode() if given == "piped" else b""
    usages, said = [], []
    for question in ("Which words are there?", "How many?", "How many?"):
        asked = ossctl("run", *SMOLLM2, "--json", *options, question, cwd=tmp_path, stdin=stdin)
        usages.append(json.loads(asked.stdout)["usage"])
        said.append([line for line in asked.said if "prefilled" in line])
    computed = [usage["prompt_tokens"] - usage["cached_tokens"] for usage in usages]
    assert computed[0] == usages[0]["prompt_tokens"] > N_WORDS
    assert max(computed[1:]) < 30
    read = zip([usage["cached_tokens"] for usage in usages[1:]], computed[1:], strict=True)
    assert said == [[], *([f"{cached:,} prompt tokens cached, {n} prefilled."] for cached, n in read)]


@pytest.mark.slow
def test_the_head_of_a_batch_that_was_killed_is_not_computed_again(tmp_path: Path) -> None:
    head = {"role": "system", "content": words(2)}
    requests = [
        {
            "id": str(number),
            "messages": [head, {"role": "user", "content": f"Question {number}?"}],
            "max_tokens": 40,
            "temperature": 0,
        }
        for number in range(12)
    ]
    write_jsonl(tmp_path / "in.jsonl", *requests)
    results = tmp_path / "out.jsonl"
    batch = ("batch", "in.jsonl", "-o", results, "-m", smollm2(), "--ctx", 4096, "--parallel", 2)
    with start(*batch, cwd=tmp_path) as killed:
        while not results.exists() or b"\n" not in results.read_bytes():
            assert killed.process.poll() is None
            time.sleep(0.01)
        killed.process.kill()
        killed.process.wait()
    done = results.read_bytes().count(b"\n")
    assert 0 < done < len(requests)
    assert ossctl(*batch, "--resume", cwd=tmp_path).code == 0
    records = records_in(results.read_text())
    assert len(records) == len(requests)
    usages = [record["response"]["body"]["usage"] for record in records[done:]]
    computed = [usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
    assert max(computed) < 30
