"""Chats: answers, a full context, tools, stopping and saving."""

import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from ossctl.app.chat.attachments import mentioned_files, read_attachment, with_attachments
from ossctl.app.chat.events import Answered, ChatEvent, Prefilling, ToolRan
from ossctl.app.chat.export import export_of, markdown_of, record_of
from ossctl.app.chat.start import StartOptions, start_chat
from ossctl.app.inference.finish import AnswerFinish
from ossctl.app.sessions.chat_settings import ChatSettings
from ossctl.app.sessions.session_log import SessionLog, load_session
from ossctl.app.tools.command import ToolCommand, ToolCommands
from ossctl.app.tools.toolbox import Toolbox
from ossctl.dialect import Answer, Reasoning, Tool
from ossctl.errors import OssctlError, UsageError
from ossctl.runtime.context import ContextOptions
from ossctl.runtime.model import LlamaModel
from ossctl.storage.sessions import Sessions
from tests.support.scripted_chat import GivenAnswers, Scripted, scripted_chat

OPTIONS = ContextOptions(n_ctx=2048, n_ubatch=64, n_threads=1)


def numbered(dialect: GivenAnswers) -> Iterator[Sequence[int]]:
    for n in count(1):
        yield dialect.spelt("hm", f"Answer {n}.")


@pytest.fixture
def scripted(gpt_oss: LlamaModel) -> Iterator[Scripted]:
    with scripted_chat(gpt_oss, numbered, OPTIONS) as opened:
        yield opened


def test_an_answer_comes_as_events_and_ends_with_its_measures(scripted: Scripted) -> None:
    events = list(scripted.chat.send("Hello?", lambda *_: True))
    assert "".join(event.text for event in events if isinstance(event, Reasoning)) == "hm"
    assert "".join(event.text for event in events if isinstance(event, Answer)) == "Answer 1."
    last = events[-1]
    assert isinstance(last, Answered)
    assert (last.ending, last.reused, last.computed) == (AnswerFinish.STOP, 0, last.prompt)


def test_dropping_the_oldest_turns_leaves_room_and_is_marked(scripted: Scripted) -> None:
    chat = scripted.chat
    for _ in range(4):
        scripted.ask("x" * 300)
    assert not chat.usage("y" * 500).fits_answer
    assert chat.drop_oldest("y" * 500) == 1
    assert chat.usage("y" * 500).fits_answer
    assert [row.seen for row in chat.report().turns] == [False, True, True, True]
    assert chat.transcript.messages()[0].content == "x" * 300
    scripted.ask("y" * 500)
    chat.undo()  # what has left the context does not come back
    assert chat.transcript.hidden == 1


def test_compacting_puts_the_models_own_summary_in_place_of_the_oldest_turns(scripted: Scripted) -> None:
    chat = scripted.chat
    for _ in range(4):
        scripted.ask("x" * 300)
    before = chat.usage().used
    list(chat.compact())
    assert chat.usage().used < before
    cut = chat.transcript.cut
    assert cut is not None
    assert cut.summary == "Answer 5."
    first = chat.transcript.messages()[0].content
    assert first.startswith("Summary of our conversation before this message:\n\nAnswer 5.\n\n---\n\nxxx")
    report = chat.report()
    assert report.summary > 0
    assert not report.turns[0].seen
    tokens = sum(row.tokens for row in report.turns if row.seen) + report.summary + report.instructions
    assert tokens == report.usage.used
    session = load_session(chat.log.sessions, chat.log.sessions.find(chat.log.session or ""))
    assert session.transcript.messages() == chat.transcript.messages()
    text = markdown_of(export_of(session))
    assert "## You (out of context)" in text
    assert "> Answer 5." in text
    roles = [message["role"] for message in record_of(export_of(session))["messages"]]
    assert roles.count("cut") == 1
    assert roles.count("user") == 4


def test_a_summary_that_did_not_come_changes_nothing(gpt_oss: LlamaModel) -> None:
    def answers(dialect: GivenAnswers) -> Iterator[Sequence[int]]:
        yield dialect.spelt("hm", "One.")
        yield dialect.spelt("hm", " ")

    with scripted_chat(gpt_oss, answers, OPTIONS) as scripted:
        scripted.ask("Hello?")
        before = scripted.chat.transcript
        with pytest.raises(OssctlError, match="the model wrote no summary"):
            list(scripted.chat.compact())
        assert scripted.chat.transcript == before


def test_a_summary_that_is_stopped_changes_nothing(gpt_oss: LlamaModel) -> None:
    def answers(dialect: GivenAnswers) -> Iterator[Sequence[int]]:
        yield dialect.spelt("hm", "One.")
        yield dialect.spelt("hm", "A summary. " * 50)

    with scripted_chat(gpt_oss, answers, OPTIONS) as scripted:
        scripted.ask("Hello?")
        before = scripted.chat.transcript
        events = scripted.chat.compact()
        assert any(isinstance(event, Answer) for event in events)
        scripted.chat.stop()
        with pytest.raises(OssctlError, match="the summary was stopped; nothing has changed"):
            list(events)
        assert scripted.chat.transcript == before


def test_calls_run_their_program_and_the_answer_goes_on(gpt_oss: LlamaModel) -> None:
    def answers(dialect: GivenAnswers) -> Iterator[Sequence[int]]:
        yield dialect.call("double", '{"n": 21}')
        yield dialect.spelt("hm", "It is 42.")
        yield dialect.call("double", "{}")
        yield dialect.spelt("hm", "Then not.")

    program = (sys.executable, "-c", "import json, sys; print(2 * json.load(sys.stdin)['n'])")
    tools = Toolbox([ToolCommands((Tool("double"),), {"double": ToolCommand(program, 20.0)})])
    with scripted_chat(gpt_oss, answers, OPTIONS, tools=tools) as scripted:
        events = list(scripted.chat.send("Twice 21?", lambda *_: True))
        assert [event.outcome.result for event in events if isinstance(event, ToolRan)] == ["42"]
        assert scripted.chat.transcript.answers[-1].message.content == "It is 42."
        roles = [message.role for message in scripted.chat.transcript.messages()]
        assert roles == ["user", "assistant", "tool", "assistant"]
        (ran,) = (e for e in scripted.chat.send("Again?", lambda *_: False) if isinstance(e, ToolRan))
        assert "does not allow" in ran.outcome.result


def test_a_model_that_never_stops_calling_has_to_answer_with_the_last_result(gpt_oss: LlamaModel) -> None:
    def answers(dialect: GivenAnswers) -> Iterator[Sequence[int]]:
        for _ in range(5):
            yield dialect.call("note", "not JSON")
        yield dialect.spelt("hm", "So be it.")

    tools = Toolbox(
        [ToolCommands((Tool("note"),), {"note": ToolCommand(("no-such-program",), 20.0)})], max_rounds=5
    )
    with scripted_chat(gpt_oss, answers, OPTIONS, tools=tools) as scripted:
        answered = scripted.ask("Note it.")
        assert answered.exhausted_rounds == 5
        roles = [message.role for message in scripted.chat.transcript.messages()]
        assert roles == ["user", *["assistant", "tool"] * 5, "assistant"]
        assert scripted.chat.transcript.answers[-1].message.content == "So be it."


def test_an_answer_that_is_stopped_keeps_what_was_said(gpt_oss: LlamaModel) -> None:
    def answers(dialect: GivenAnswers) -> Iterator[Sequence[int]]:
        yield dialect.spelt("hm", "word " * 300)
        yield dialect.spelt("hm", "Two.")

    with scripted_chat(gpt_oss, answers, OPTIONS) as scripted:
        chat = scripted.chat
        seen = 0
        last = None
        for event in chat.send("Hello?", lambda *_: True):
            seen += isinstance(event, Answer)
            if seen == 20:
                chat.stop()
            last = event
        assert isinstance(last, Answered)
        assert last.ending is AnswerFinish.CANCELLED
        (answer,) = chat.transcript.answers
        assert answer.state == "stopped"
        assert 20 <= len(answer.message.content) < 1000
        assert scripted.ask("And?").ending is AnswerFinish.STOP
        kept = load_session(chat.log.sessions, chat.log.sessions.recent(1)[0]).transcript
        assert [entry.message.content for entry in kept.answers] == [
            entry.message.content for entry in chat.transcript.answers
        ]


def test_a_message_that_is_stopped_while_it_is_read_is_taken_back(scripted: Scripted) -> None:
    chat = scripted.chat
    scripted.ask("Hello?")
    before = chat.transcript
    timer = threading.Timer(0.03, chat.stop)
    events: list[ChatEvent] = []
    for event in chat.send("x" * 1500, lambda *_: True):
        if not events:
            timer.start()
        events.append(event)
        if isinstance(event, Prefilling):
            chat.stop()
    timer.join()
    last = events[-1]
    assert isinstance(last, Answered)
    if not last.completion:  # it was in time
        assert chat.transcript == before
    assert scripted.ask("And?").ending is AnswerFinish.STOP


def test_a_message_that_cannot_be_asked_leaves_no_trace(scripted: Scripted) -> None:
    scripted.ask("Hello?")
    before = scripted.chat.transcript
    with pytest.raises(UsageError, match="the prompt has"):
        scripted.ask("x" * 3000)
    assert scripted.chat.transcript == before


def test_each_answer_has_a_seed_of_its_own_and_records_what_made_it(scripted: Scripted) -> None:
    chat = scripted.chat
    chat.settings = replace(chat.settings, seed=7, temperature=0.5)
    scripted.ask("Hello?")
    scripted.take(chat.retry(lambda *_: True))
    details = chat.transcript.answers[-1].details
    assert details["seed"] == 8
    assert details["settings"]["temperature"] == 0.5
    assert details["settings"]["date"]
    assert details["effort"] == "medium"
    assert details["usage"]["completion_tokens"] > 5


def test_a_session_goes_on_in_its_settings_but_for_those_given_anew(scripted: Scripted) -> None:
    chat = scripted.chat
    chat.settings = ChatSettings(system="Be brief.", temperature=0.5, seed=3)
    scripted.ask("Hello?")
    options = StartOptions(ChatSettings(temperature=0.1), ["temperature"], continue_latest=True)
    again, resumed = start_chat(options, SessionLog(chat.log.sessions))
    assert resumed is not None
    assert again.transcript.messages() == chat.transcript.messages()
    assert again.settings == ChatSettings(system="Be brief.", temperature=0.1, seed=3)
    assert resumed.model.reference == "tiny"
    copy = again.fork()
    kept = [load_session(chat.log.sessions, each).model for each in chat.log.sessions.recent()]
    assert [copy.model, *kept] == [resumed.model] * 3  # also if the model is never loaded


def test_there_has_to_be_something_to_go_on_with() -> None:
    sessions = Sessions.in_memory()
    sessions.create("a logged run is no chat", "{}", kind="run")
    with pytest.raises(UsageError, match="there is no chat to continue"):
        start_chat(StartOptions(ChatSettings(), [], continue_latest=True), SessionLog(sessions))
    with pytest.raises(UsageError, match="there is no session abc"):
        start_chat(StartOptions(ChatSettings(), [], resume="abc"), SessionLog(Sessions.in_memory()))


def test_a_database_that_fails_in_the_middle_is_said_and_the_chat_goes_on(scripted: Scripted) -> None:
    scripted.ask("Hello?")
    scripted.chat.log.sessions.close()
    assert scripted.ask("And?").ending is AnswerFinish.STOP
    assert scripted.chat.log.problem
    assert len(scripted.chat.transcript.turns) == 2
    scripted.chat.undo()
    assert scripted.ask("And now?").ending is AnswerFinish.STOP


def test_mentioned_files_are_found_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "with blank.txt"):
        (tmp_path / name).write_text(f"in {name}", "utf-8")
    text = 'Compare @a.txt, @"with blank.txt" (not @nothing.txt, me@a.txt or @a.txt!).'
    assert mentioned_files(text) == [Path("a.txt"), Path("with blank.txt")]
    attached = [read_attachment(path, 1000) for path in mentioned_files(text)]
    assert with_attachments("Hi", attached).startswith("Hi\n\na.txt:\n```\nin a.txt\n```")
