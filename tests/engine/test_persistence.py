"""What the engine writes to disk and reads from it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from ossctl.engine import engine as engine_module
from ossctl.engine import persistence
from ossctl.engine.engine import Engine
from ossctl.engine.prefix_disk import DiskPrefix, SavedPrefix
from ossctl.engine.request import Generated, Request, Sampling
from ossctl.engine.sequence import common_prefix
from ossctl.runtime.base import Chunk, Logits, Tokens
from tests.support.scripted import ScriptedRunner, expected_answer, run

GREEDY = Sampling(temperature=0)


@dataclass
class Disk:
    """A disk in RAM. If it is `failing`, what it has found is gone when it is read."""

    saved: list[tuple[SavedPrefix, str]] = field(default_factory=list)
    failing: bool = False

    def find(self, prompt: Tokens) -> DiskPrefix | None:
        lengths = [(common_prefix(each.tokens, prompt), n) for n, (each, _) in enumerate(self.saved)]
        return DiskPrefix(*max(lengths)) if lengths else None

    def load(self, found: DiskPrefix) -> SavedPrefix | None:
        assert isinstance(found.entry, int)
        return None if self.failing else self.saved[found.entry][0]

    busy = False

    def save(self, prefix: SavedPrefix, conversation: str) -> None:
        self.saved.append((prefix, conversation))

    @property
    def names(self) -> list[str]:
        return [conversation for _, conversation in self.saved]


@pytest.fixture(autouse=True)
def everything_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistence, "_MIN_SAVED_SECONDS", 0.0)
    monkeypatch.setattr(persistence, "_MIN_SEARCHED_SECONDS", 0.0)


def prompt(n: int, seed: int = 0) -> Tokens:
    return np.random.default_rng(seed).integers(0, 50, n).astype(np.int32)


def ask(engine: Engine, text: Tokens, conversation: str = "", *, persist: bool = True) -> int:
    """Answer `text`, check the answer; tokens of the prompt that were cached."""
    engine.submit(Request("r", text, 5, GREEDY, conversation=conversation, persist=persist))
    outputs = run(engine)["r"]
    tokens = [output.token for output in outputs if isinstance(output, Generated)]
    assert tokens == expected_answer(text.tolist(), 5, 50)
    (*_, last) = outputs
    assert isinstance(last, Generated)
    return last.cached_tokens


def runner(n_seq: int) -> ScriptedRunner:
    return ScriptedRunner(n_seq=n_seq, n_ctx_seq=2048, n_batch=64, n_ubatch=64)


def test_an_entry_that_is_gone_when_it_is_read_loses_nothing_that_ram_has() -> None:
    text = prompt(600)
    disk = Disk([(SavedPrefix(text, ScriptedRunner().save(0), {}), "")], failing=True)
    engine = Engine(runner(2), disk)
    ask(engine, text[:300])
    assert ask(engine, text) == 300
    assert ask(Engine(runner(2), disk), text) == 0


def test_a_fork_leaves_nothing_on_disk_that_has_no_name() -> None:
    """It shares its start with another conversation; deleting both has to delete all."""
    disk = Disk()
    engine = Engine(runner(4), disk)
    ask(engine, prompt(300), "chat")
    ask(engine, np.concatenate([prompt(300), prompt(50, 1)]), "fork")
    while engine.save(ending=True):
        pass
    assert sorted(disk.names) == ["chat", "fork"]


def test_a_chat_that_is_not_saved_is_not_written() -> None:
    disk = Disk()
    engine = Engine(runner(4), disk)
    for conversation in ("unsaved", "other", "unsaved"):
        ask(engine, prompt(300), conversation, persist=False)
    assert not engine.save(ending=True)
    assert disk.names == []


def test_what_requests_share_is_written_at_once() -> None:
    disk = Disk()
    engine = Engine(runner(2), disk)
    for number in range(2):
        engine.submit(Request(str(number), np.concatenate([prompt(300), prompt(9, number + 1)]), 5, GREEDY))
    run(engine)
    assert [len(saved.tokens) for saved, _ in disk.saved] == [300]


def share(engine: Engine, head: Tokens) -> None:
    """Answer two prompts that start with `head` and then differ at once."""
    for number in (1, 2):
        engine.submit(Request(str(number), np.concatenate([head, np.full(9, number, np.int32)]), 5, GREEDY))
    run(engine)


def test_choices_of_one_request_share_nothing_with_other_requests() -> None:
    disk = Disk()
    engine = Engine(runner(2), disk)
    for number in range(3):
        for choice in range(2):
            engine.submit(Request(f"{number}.{choice}", prompt(300, number), 5, GREEDY))
        run(engine)
    assert disk.saved == []


def test_what_is_hardly_longer_than_a_written_prefix_is_not_written() -> None:
    disk = Disk()
    for engine in (Engine(runner(2), disk), Engine(runner(2), disk)):
        for n_tokens in (300, 301, 330, 299, 400):
            share(engine, prompt(400)[:n_tokens])
    assert [len(saved.tokens) for saved, _ in disk.saved] == [300, 400]


def test_a_prefix_is_compared_with_few_others(monkeypatch: pytest.MonkeyPatch) -> None:
    n_compared = 0

    def counted(a: Tokens, b: Tokens) -> int:
        nonlocal n_compared
        n_compared += 1
        return common_prefix(a, b)

    monkeypatch.setattr(persistence, "common_prefix", counted)
    disk = Disk()
    engine = Engine(runner(2), disk)
    for number in range(80):
        n_compared = 0
        share(engine, prompt(70, number))
    assert len(disk.saved) > 70
    assert 0 < n_compared <= 64


class Clocked(ScriptedRunner):
    """Decodes a batch with a prompt in a second, one without in 100."""

    seconds = 0.0

    def decode(self, chunks: Sequence[Chunk]) -> Logits:
        self.seconds += 1 if any(len(chunk.tokens) > 1 for chunk in chunks) else 100
        return super().decode(chunks)


def test_slow_answers_do_not_make_prompts_worth_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistence, "_MIN_SAVED_SECONDS", 20.0)
    clocked = Clocked(n_seq=16, n_ctx_seq=2048, n_batch=64, n_ubatch=64)
    monkeypatch.setattr(engine_module, "perf_counter", lambda: clocked.seconds)
    disk = Disk()
    engine = Engine(clocked, disk)
    for number in range(16):
        engine.submit(Request(str(number), prompt(64, number), 20, GREEDY))
    run(engine)
    assert clocked.seconds > 300
    share(engine, prompt(300))
    assert disk.saved == []


def test_a_conversation_is_written_before_another_takes_its_place() -> None:
    disk = Disk()
    engine = Engine(runner(2), disk)
    for number in range(5):
        ask(engine, prompt(300, number), f"chat {number}")
    assert disk.names == ["chat 0", "chat 1", "chat 2"]
    cached = [ask(engine, np.concatenate([prompt(300, n), prompt(20, 9)]), f"chat {n}") for n in (0, 1, 4)]
    assert cached == [300, 300, 300]


def test_a_prompt_that_is_computed_fast_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistence, "_MIN_SAVED_SECONDS", 1.0)
    disk = Disk()
    engine = Engine(runner(2), disk)
    started = time.perf_counter()
    ask(engine, prompt(300))
    if time.perf_counter() - started < 1:
        assert not engine.save(ending=True)
