"""Sessions in SQLite: message trees, crashes, concurrent writers and unusable databases."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ossctl.errors import UsageError
from ossctl.storage.database import MIGRATIONS, DatabaseUnusable
from ossctl.storage.sessions import Sessions, StoredMessage, TipMoved

AT = "2026-01-31T12:00:00.000+00:00"


def message(text: str, role: str = "user") -> StoredMessage:
    return StoredMessage(role, text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ossctl.db"


def contents(sessions: Sessions, session: str) -> list[str]:
    return [message.content for message in sessions.messages(session)]


def test_a_session_shows_the_branch_up_to_its_tip(path: Path) -> None:
    sessions = Sessions.open(path)
    session = sessions.create("title", "{}")
    assert contents(sessions, session) == []
    first = sessions.add(session, None, message("one"), None)
    second = sessions.add(session, first, message("two", "assistant"), first)
    sessions.move_tip(session, first, second)
    other = sessions.add(session, first, message("another two", "assistant"), first)
    assert contents(sessions, session) == ["one", "another two"]
    sessions.move_tip(session, second, other)
    assert contents(Sessions.open(path), session) == ["one", "two"]
    assert sessions.count_answers(session) == 2
    sessions.move_tip(session, None, second)
    assert contents(sessions, session) == []


def test_a_fork_is_independent_of_its_origin(path: Path) -> None:
    sessions = Sessions.open(path)
    origin = sessions.create("title", "{}")
    first = sessions.add(origin, None, message("one"), None)
    tip = sessions.add(origin, first, StoredMessage("cut", "summary", covers=first), first)
    copy = sessions.fork(origin, "{}", tip).id
    messages = sessions.messages(copy)
    assert [m.content for m in messages] == ["one", "summary"]
    assert messages[1].covers == messages[0].id != first
    sessions.add(copy, messages[1].id, message("two"), messages[1].id)
    sessions.delete(origin)
    assert contents(sessions, copy) == ["one", "summary", "two"]
    assert sessions.find(copy).origin == origin


def test_a_session_that_another_process_continued_is_left_as_it_is(path: Path) -> None:
    sessions, others = Sessions.open(path), Sessions.open(path)
    session = sessions.create("title", "{}")
    first = sessions.add(session, None, message("one"), None)
    tip = others.add(session, first, message("theirs"), first)
    for attempt in (first, None, tip + 1):
        with pytest.raises(TipMoved):
            sessions.add(session, first, message("ours"), attempt)
        with pytest.raises(TipMoved):
            sessions.move_tip(session, None, attempt)
    assert contents(sessions, session) == ["one", "theirs"]
    others.delete(session)
    with pytest.raises(DatabaseUnusable, match=f"session {session} was deleted"):
        sessions.add(session, first, message("ours"), first)


def test_text_that_is_not_utf8_can_be_read(path: Path) -> None:
    sessions = Sessions.open(path)
    session = sessions.create("title", "{}")
    sessions.add(session, None, message("one"), None)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE messages SET content = CAST(X'636166E9' AS TEXT)")
    assert contents(sessions, session) == ["caf\ufffd"]


@pytest.mark.parametrize("indexed", [True, False], ids=["FTS5", "without FTS5"])
def test_search_finds_all_words_in_any_branch(path: Path, indexed: bool) -> None:
    sessions = Sessions.open(path)
    if not indexed:
        sessions._index._exists = False
    elif not sessions._index._exists:
        pytest.skip("this SQLite has no FTS5")
    session = sessions.create("title", "{}")
    first = sessions.add(session, None, message("What is the capital of France?"), None)
    second = sessions.add(session, first, message("Paris, 100% sure.", "assistant"), first)
    sessions.move_tip(session, first, second)
    assert [hit.role for hit in sessions.search("france capital")] == ["user"]
    assert [hit.session.id for hit in sessions.search("Par")] == [session]
    assert "[Paris]" in sessions.search("Paris")[0].excerpt
    assert sessions.search("100%")
    assert sessions.search("Rome") == sessions.search('"') == [] or not indexed
    with pytest.raises(UsageError, match="the text to search for is empty"):
        sessions.search("  ")
    sessions.delete(session)
    assert sessions.search("Paris") == []


def test_an_id_can_be_shortened_but_must_exist(path: Path) -> None:
    sessions = Sessions.open(path)
    session = sessions.create("title", "{}")
    assert sessions.find(session[:3]).id == session
    for wrong in ("", "0", "%", f"{session}x"):
        with pytest.raises(UsageError, match="there is no session"):
            sessions.find(wrong)


def test_a_database_of_the_first_format_is_migrated(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as database:
        MIGRATIONS[0](database)
        database.execute("PRAGMA user_version = 1")
        database.execute("INSERT INTO sessions VALUES ('a1', 'Hello', '', '', 1, NULL, '{}')")
        database.execute(
            "INSERT INTO messages VALUES "
            "(1, 'a1', NULL, 'user', 'Hello', '', '[]', '', X'01000000', NULL, 'done', '', '{}')"
        )
    sessions = Sessions.open(path)
    (stored,) = sessions.messages("a1")
    assert (stored.content, stored.token_ids) == ("Hello", b"\1\0\0\0")


def test_all_sessions_of_a_database_without_kinds_are_chats(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as database:
        for migrate in MIGRATIONS[:2]:
            migrate(database)
        database.execute("PRAGMA user_version = 2")
        database.execute("CREATE VIRTUAL TABLE message_text USING fts5 (content)")
        database.execute("INSERT INTO sessions VALUES ('a1', 'Hello', ?, ?, 2, NULL, '{}')", (AT, AT))
        database.executemany(
            "INSERT INTO messages VALUES (?, 'a1', ?, ?, ?, '', '[]', '', X'', NULL, 'whole', ?, '{}')",
            [(1, None, "user", "Hello", AT), (2, 1, "assistant", "Good day", AT)],
        )
        before = [*database.iterdump()]
    sessions = Sessions.open(path)
    (session,) = sessions.recent(kind="chat")
    assert (session.kind, session.messages, session.ending) == ("chat", 2, "Good day")
    assert contents(sessions, "a1") == ["Hello", "Good day"]
    assert [hit.excerpt for hit in sessions.search("day", kind="chat")] == ["Good [day]"]
    assert not sessions.recent(kind="run")
    assert not sessions.search("day", kind="run")
    with sqlite3.connect(path) as database:
        rows = [line for line in database.iterdump() if line.startswith('INSERT INTO "messages"')]
    assert rows == [line for line in before if line.startswith('INSERT INTO "messages"')]


def test_several_messages_are_added_together_or_not_at_all(path: Path) -> None:
    sessions = Sessions.open(path)
    session = sessions.create("title", "{}", kind="run")
    sessions.extend(session, [message("one"), message("two", "assistant")], '{"seed": 1}', None)
    assert contents(sessions, session) == ["one", "two"]
    with pytest.raises(TipMoved):
        sessions.extend(session, [message("three")], "{}", None)
    with pytest.raises(TipMoved), sessions.transaction():
        sessions.extend(sessions.create("another", "{}"), [message("one")], "{}", 1)
    (found,) = sessions.recent()
    assert (found.kind, found.ending, found.settings) == ("run", "two", '{"seed": 1}')
    assert sessions.find(sessions.fork(session, "{}", None).id).kind == "run"


def test_no_file_holds_the_text_of_a_deleted_session(path: Path) -> None:
    sessions = Sessions.open(path)
    kept, *deleted = (sessions.create("title", "{}") for _ in range(3))
    for session, word in zip((kept, *deleted), ("harmless", "confidential", "clandestine"), strict=True):
        sessions.extend(session, [message(f"{word} {word * 900}")], "{}", None)
        sessions.search(word)
    sessions.delete(*deleted)
    held = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"harmless" in held
    assert b"confidential" not in held
    assert b"clandestine" not in held


def test_newer_damaged_and_inaccessible_databases_are_reported(path: Path, tmp_path: Path) -> None:
    Sessions.open(path).close()
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(DatabaseUnusable, match="written by a newer ossctl"):
        Sessions.open(path)
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database at all" * 1000)
    with pytest.raises(DatabaseUnusable, match="is damaged"):
        Sessions.open(broken)
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseUnusable, match="cannot write"):
        Sessions.open(tmp_path / "file" / "ossctl.db")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_home_is_reported(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o500)
    with pytest.raises(DatabaseUnusable, match="cannot write"):
        Sessions.open(path)


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
def test_only_the_owner_can_read_the_database(path: Path) -> None:
    Sessions.open(path)
    assert path.stat().st_mode & 0o077 == 0


def test_many_threads_create_a_database_at_once(tmp_path: Path) -> None:
    all_ready = threading.Barrier(8)

    def create(path: Path) -> None:
        all_ready.wait()
        Sessions.open(path).create("first", "{}")

    for attempt in range(60):
        path = tmp_path / f"{attempt}.db"
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(create, [path] * 8))
        assert len(Sessions.open(path).recent()) == 8


def test_several_threads_write_at_once(path: Path) -> None:
    def write(number: int) -> None:
        sessions = Sessions.open(path)
        session = sessions.create(f"writer {number}", "{}")
        parent = None
        for turn in range(40):
            parent = sessions.add(session, parent, message(f"{number} {turn}"), parent)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    listed = Sessions.open(path).recent()
    assert [session.messages for session in listed] == [40] * 4


_WRITER = """
import sys
from pathlib import Path
from ossctl.storage.sessions import Sessions, StoredMessage
sessions = Sessions.open(Path(sys.argv[1]))
session = sessions.create("killed", "{}")
parent = None
for n in range(100_000):
    parent = sessions.add(session, parent, StoredMessage("user", f"message {n}"), parent)
    print(n, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_committed_messages_survive_kill_minus_nine(path: Path) -> None:
    for killed_after in (1, 7, 60):
        process = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= killed_after:
                process.send_signal(signal.SIGKILL)
                break
        process.wait()
        process.stdout.close()
        sessions = Sessions.open(path)
        kept = contents(sessions, sessions.recent(1)[0].id)
        assert kept[: killed_after + 1] == [f"message {n}" for n in range(killed_after + 1)]
