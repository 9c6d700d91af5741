"""Saving a chat: two chats on one session, answers that grow, and text that is not UTF-8."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ossctl.app.chat.history import ChatHistory
from ossctl.app.sessions import session_log
from ossctl.app.sessions.chat_settings import ChatSettings
from ossctl.app.sessions.session_log import SessionLog, SessionModel, load_session
from ossctl.app.sessions.transcript import MessageEntry, Transcript
from ossctl.dialect import Message, ToolCall
from ossctl.storage.sessions import Sessions

CAFE = "caf\udce9"  # as Python reads the bytes of another encoding, in a command line or a file's name


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ossctl.db"


def chat_on(path: Path, session: str | None = None) -> ChatHistory:
    history = ChatHistory(SessionLog(Sessions.open(path)))
    if session is not None:
        history.load(history.log.open(session))
    return history


def say(history: ChatHistory, text: str) -> None:
    history.add_message(Message("user", text))
    writer = history.start_answer({})
    history.finish_answer(writer.finish(Message("assistant", f"answer to {text}"), {}, stopped=False))


def saved(path: Path, session: str | None) -> list[str]:
    """The messages of the user in a session's current branch."""
    sessions = Sessions.open(path)
    assert session is not None
    transcript = load_session(sessions, sessions.find(session)).transcript
    assert len(transcript.answers) == len(transcript.turns)
    return [turn.text for turn in transcript.turns]


def test_two_chats_on_one_session_lose_no_branch(path: Path) -> None:
    first = chat_on(path)
    say(first, "one")
    session = first.log.session
    second = chat_on(path, session)
    say(second, "two of the second")
    say(first, "two of the first")
    say(second, "three of the second")
    say(first, "three of the first")
    assert second.log.session == session != first.log.session
    assert (first.log.take_left(), first.log.take_left(), second.log.take_left()) == (session, None, None)
    assert saved(path, session) == ["one", "two of the second", "three of the second"]
    assert saved(path, first.log.session) == ["one", "two of the first", "three of the first"]
    assert Sessions.open(path).find(first.log.session or "").origin == session


def undo(history: ChatHistory) -> None:
    history.move_to(history.transcript.before(history.last_turn))


def cut(history: ChatHistory) -> None:
    history.add_cut("summary", history.transcript.turns[0].last_id)


@pytest.mark.parametrize("change", [undo, cut])
def test_whatever_a_chat_changes_leaves_the_other_chats_branch(
    path: Path, change: Callable[[ChatHistory], None]
) -> None:
    first = chat_on(path)
    say(first, "one")
    say(first, "two")
    session = first.log.session
    before = first.transcript
    undo(first)
    second = chat_on(path, session)
    say(second, "two of the second")
    first.move_to(before)  # a message that is in no branch of the session any more
    change(first)
    say(first, "three")
    assert saved(path, session) == ["one", "two of the second"]
    mine = ["one", "three"] if change is undo else ["one", "two", "three"]
    assert saved(path, first.log.session) == [turn.text for turn in first.transcript.turns] == mine
    reopened = chat_on(path, first.log.session)
    assert reopened.transcript.hidden == first.transcript.hidden == (change is cut)


def test_a_chat_can_be_left_behind_again_and_again(path: Path) -> None:
    first = chat_on(path)
    say(first, "one")
    for turn in range(3):
        other = chat_on(path, first.log.session)
        say(other, f"theirs {turn}")
        say(first, f"mine {turn}")
        assert first.log.take_left() == other.log.session
    assert saved(path, first.log.session) == ["one", "mine 0", "mine 1", "mine 2"]
    assert len(Sessions.open(path).recent()) == 4


def test_a_session_deleted_meanwhile_is_a_reason_why_nothing_is_saved(path: Path) -> None:
    chat = chat_on(path)
    say(chat, "one")
    Sessions.open(path).delete(chat.log.session or "")
    say(chat, "two")
    assert chat.log.problem == f"session {chat.log.session} was deleted"
    assert [turn.text for turn in chat.transcript.turns] == ["one", "two"]


def test_a_long_answer_is_written_less_often_as_it_grows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, written = 0.0, []
    monkeypatch.setattr(session_log, "monotonic", lambda: now)
    chat = chat_on(path)
    monkeypatch.setattr(
        chat.log, "rewrite", lambda entry: written.append((now, len(entry.message.reasoning)))
    )
    writer = chat.start_answer({})
    parts: list[str] = []
    for _ in range(6000):  # five minutes at 20 tokens a second
        now += 0.05
        parts.append("x" * 30)
        writer.update([], parts)
    pauses = [later - sooner for (sooner, _), (later, _) in pairwise(written)]
    assert max(pauses[:10]) < 0.25
    assert max(pauses) < 2.5
    assert sum(length for _, length in written) < 300 * 100_000  # not 300 x 10 x 90,000 on average
    assert written[-1][1] > 30 * 5900


def test_text_that_is_not_utf8_is_saved(path: Path) -> None:
    chat = chat_on(path)
    chat.log.note_settings(replace(ChatSettings(), system=CAFE), SessionModel(f"{CAFE}.gguf", CAFE, CAFE))
    say(chat, f"{CAFE} \ud83d\ude00")
    details: dict[str, Any] = {"model": CAFE}
    call = Message("assistant", "", CAFE, (ToolCall("f", CAFE),))
    entry = chat.log.add(chat.transcript, MessageEntry(call, details=details))
    chat.transcript = Transcript((*chat.transcript.entries, entry))
    assert chat.log.problem == ""
    loaded = chat_on(path, chat.log.session)
    assert loaded.transcript.turns[0].text == "caf\ufffd \U0001f600"
    assert loaded.transcript.messages()[-1].calls == (ToolCall("f", "caf\ufffd"),)
    assert load_session(loaded.log.sessions, loaded.log.sessions.recent()[0]).settings.system == "caf\ufffd"
