"""Chats whose process has ended: their states are on disk, and the next turn computes only what is new."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from ossctl.app.chat.chat import Chat
from ossctl.app.chat.events import Answered
from ossctl.app.chat.model_session import ModelSession
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadOptions, load_model
from ossctl.app.library.prefix_cache import clear_cache
from ossctl.app.sessions.chat_settings import ChatSettings
from ossctl.app.sessions.session_log import SessionLog, SessionModel
from ossctl.app.tools.toolbox import Toolbox
from ossctl.engine import persistence
from ossctl.harmony.dialect import HarmonyDialect
from ossctl.planning.workload import Purpose, Workload
from ossctl.settings import Paths
from ossctl.storage.prefix_cache import entries
from ossctl.storage.sessions import Sessions
from tests.support.models import byte_gpt_oss
from tests.support.programs import share_trial
from tests.support.scripted_chat import GivenAnswers

TEXT = "The river runs past the old stone bridge, and the market is on Monday. " * 8  # a token per character
OPTIONS = LoadOptions(ctx=4096, threads=1)
ONE_TURN = 100  # more tokens than a short question and an answer without its reasoning have


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share_trial(tmp_path)
    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path))
    monkeypatch.setattr(persistence, "_MIN_SAVED_SECONDS", 0.0)


@pytest.fixture
def sessions() -> Sessions:
    return Sessions.in_memory()


def answers(dialect: GivenAnswers) -> Iterator[Sequence[int]]:
    for n in count(1):
        yield dialect.spelt("hm " * 50, f"Answer {n % 10} of the model.")


@contextmanager
def opened(
    path: Path, sessions: Sessions, options: LoadOptions = OPTIONS, problem: str = ""
) -> Iterator[Chat]:
    """A chat in a process of its own: all of RAM's states are lost between two of them."""
    workload = Workload(Purpose.INTERACTIVE, conversations=4)
    with (
        Interrupt() as interrupt,
        load_model(path, options, workload, interrupt) as loaded,
    ):
        harmony = loaded.dialect
        assert isinstance(harmony, HarmonyDialect)
        dialect = GivenAnswers(harmony._tokenizer, harmony._markers, harmony._grammars)
        dialect.answers = answers(dialect)
        model = SessionModel(loaded.name, str(path), path.name)
        with ModelSession(replace(loaded, dialect=dialect)) as session:
            chat = Chat(SessionLog(sessions, problem), ChatSettings(), model, Toolbox())
            chat.use(session, model)
            yield chat


def ask(chat: Chat, text: str) -> int:
    """Send a message; how many tokens of the prompt were computed."""
    *_, last = chat.send(text, lambda *_: True)
    assert isinstance(last, Answered)
    record = last.record()["usage"]
    assert record["cached_tokens"] == last.prompt - last.computed
    return last.computed


def test_a_chat_that_is_resumed_computes_what_a_chat_that_stayed_open_does(
    byte_model_path: Path, sessions: Sessions
) -> None:
    questions = (TEXT, "And the bridge?", "And the market?")
    with opened(byte_model_path, Sessions.in_memory(), replace(OPTIONS, cache_bytes=0)) as chat:
        in_ram = [ask(chat, text) for text in questions]
    on_disk = []
    for text in questions:
        with opened(byte_model_path, sessions) as chat:
            if sessions.recent():
                chat.resume(sessions.recent(1)[0].id)
            on_disk.append(ask(chat, text))
    assert on_disk[0] == in_ram[0]
    for resumed, open_ in zip(on_disk[1:], in_ram[1:], strict=True):
        assert resumed <= open_ + 1  # the window in RAM reaches a token further than the snapshot
    assert max(on_disk[1:]) < ONE_TURN
    assert [each.owner for each in entries(Paths.from_environment().prefixes)] == [sessions.recent()[0].id]


@pytest.mark.slow
def test_six_chats_and_a_fork_in_one_database_compute_only_what_is_new(
    byte_model_path: Path, sessions: Sessions
) -> None:
    """More than stay in the KV cache."""
    names = []
    with opened(byte_model_path, sessions) as chat:
        for number in range(6):
            assert ask(chat, f"Text {number}: {TEXT}") > len(TEXT)
            names.append(chat.log.session or "")
            chat.clear()
    with opened(byte_model_path, sessions) as chat:
        for number in (3, 0, 5, 1, 4, 2):
            chat.resume(names[number])
            assert ask(chat, "And the bridge?") < ONE_TURN
        chat.fork()
        fork = chat.log.session or ""
        assert ask(chat, "And the market?") < ONE_TURN
    with opened(byte_model_path, sessions) as chat:
        chat.resume(fork)
        assert ask(chat, "And now?") < ONE_TURN
    owners = {each.owner for each in entries(Paths.from_environment().prefixes)}
    assert owners == {*names, fork}
    for name in owners:  # as `ossctl sessions delete` does
        clear_cache(owner=name)
    assert [file.name for file in Paths.from_environment().prefixes.iterdir()] == ["index.db"]


def test_another_model_and_back_computes_only_what_the_other_one_said(
    byte_model_path: Path, sessions: Sessions, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = byte_gpt_oss(tmp_path / "other")
    computed: list[int] = []
    for model in (byte_model_path, other, byte_model_path, other):
        with opened(model, sessions) as chat:
            if sessions.recent():
                chat.resume(sessions.recent(1)[0].id)
            computed.append(ask(chat, TEXT if not computed else "And the bridge?"))
    first, second, third, fourth = computed
    assert second > first  # that model has computed nothing of it
    assert max(third, fourth) < 2 * ONE_TURN


def test_a_chat_that_is_not_saved_leaves_nothing_on_disk(byte_model_path: Path, sessions: Sessions) -> None:
    with opened(byte_model_path, sessions, problem="the database is damaged") as chat:
        ask(chat, TEXT)
        chat.clear()
        ask(chat, TEXT)
    assert not Paths.from_environment().prefixes.exists()
