"""The log of `ossctl run`: what of a run is kept, however it ends, and how another continues it."""

import sqlite3
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ossctl.app.inference.client import Client
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.inference.options import GenerationOptions
from ossctl.app.inference.request import GenerationSpec
from ossctl.app.run.log import Earlier, RunLog, find_run
from ossctl.app.run.options import RunOptions
from ossctl.app.run.progress import RunProgress
from ossctl.app.run.run import ToolLoop
from ossctl.app.sessions.chat_settings import ChatSettings, RunSettings
from ossctl.app.sessions.session_log import SavedSession, SessionLog
from ossctl.app.sessions.stored import SessionModel
from ossctl.app.sessions.transcript import MessageEntry, Transcript
from ossctl.app.tools.command import ToolCommand, ToolCommands
from ossctl.app.tools.source import ToolOutcome
from ossctl.app.tools.toolbox import Toolbox
from ossctl.dialect import Conversation, Message, Tool, ToolCall
from ossctl.engine.request import Sampling
from ossctl.errors import Interrupted, UsageError
from ossctl.harmony.dialect import HarmonyDialect
from ossctl.storage import database
from ossctl.storage.sessions import Sessions
from tests.support.scripted_calls import NoGrammars, Replies, call, final
from tests.support.toy_harmony import TOY

UPPER = (sys.executable, "-c", "import json, sys; print(json.load(sys.stdin)['text'].upper())")
THINKS = "<|channel|>analysis<|message|>Fig.<|end|><|start|>assistant"
CALLS = [THINKS + call("upper", '{"text":"fig"}'), final("FIG, a fruit")]
MODEL = SessionModel("tiny")


class Stops:
    """A view that interrupts the run once the answer has a text, or when a tool is to run."""

    def __init__(self, interrupt: Interrupt, at: str = "") -> None:
        self._interrupt = interrupt
        self._at = at

    def answer(self, text: str) -> None:
        if self._at and self._at in text:
            self._interrupt.signum = 2

    def reasoning(self, text: str) -> None:
        pass

    def remark(self, text: str) -> None:
        pass

    def may_run(self, call: ToolCall, question: str) -> bool:
        if self._at == "tool":
            self._interrupt.signum = 2
        return True

    def ran(self, outcome: ToolOutcome) -> None:
        pass


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ossctl.db"


def ask(text: str, replies: Sequence[str], *, stop: str = "") -> RunProgress:
    """Let a scripted gpt-oss answer, with a tool."""
    dialect = HarmonyDialect(TOY, TOY.markers, NoGrammars())  # type: ignore[arg-type]
    model = LoadedModel("toy", Replies(replies=replies, n_seq=1), dialect, TOY.piece)
    tools = Toolbox([ToolCommands((Tool("upper"),), {"upper": ToolCommand(UPPER, 20.0)})])
    conversation = Conversation((Message("user", text),), tools.offered)
    spec = GenerationSpec(conversation, 500, (), Sampling(temperature=0))
    progress = RunProgress("toy")
    with Interrupt() as interrupt, Client(model, interrupt) as client:
        try:
            ToolLoop(client, interrupt, Stops(interrupt, stop), tools, progress).run(spec, 1)
            progress.complete = True
        except Interrupted:
            assert stop
    return progress


def ask_after(before: Sequence[Message], text: str, answer: str) -> RunProgress:
    """What there would be if the messages `before` had been part of the prompt."""
    generation = ask(text, [final(answer)])._generations[0]
    progress = RunProgress("toy", complete=True)
    conversation = Conversation((*before, Message("user", text)))
    progress.begin([GenerationSpec(conversation, None, (), Sampling())])
    progress.finish(0, generation)
    return progress


def log_on(path: Path, earlier: SavedSession | None = None, **settings: Any) -> RunLog:
    return RunLog(path, RunSettings(**settings), MODEL, "a title", Earlier(earlier) if earlier else None)


def kept(path: Path, reference: str | None = None) -> list[tuple[str, str, int, str]]:
    """Role, text, number of calls and state of each message in the latest run."""
    entries = find_run(path, reference).transcript.entries
    return [
        (entry.message.role, entry.message.content, len(entry.message.calls), entry.state)
        for entry in entries
        if isinstance(entry, MessageEntry)
    ]


def test_calls_their_results_and_the_reasoning_are_kept(path: Path) -> None:
    assert log_on(path).save(ask("Upper?", CALLS)) == ""
    assert kept(path) == [
        ("user", "Upper?", 0, "whole"),
        ("assistant", "", 1, "whole"),
        ("tool", "FIG", 0, "whole"),
        ("assistant", "FIG, a fruit", 0, "whole"),
    ]
    saved = find_run(path, None)
    (_, called, _, answer) = saved.transcript.messages()
    assert called.reasoning == "Fig."
    assert bytes(b"".join(map(TOY.piece, answer.token_ids))).endswith(b"FIG, a fruit<|return|>")
    entry = saved.transcript.answers[-1]
    assert entry.details["finish_reason"] == "stop"
    assert (saved.kind, saved.title, saved.model.name, saved.n_answers) == ("run", "a title", "toy", 2)


def test_an_answer_that_was_stopped_is_kept_as_far_as_it_got(path: Path) -> None:
    assert log_on(path).save(ask("Hello?", [final("One. Two. Three.")], stop="T")) == ""
    user, (role, content, _, state) = kept(path)
    assert user == ("user", "Hello?", 0, "whole")
    assert (role, state) == ("assistant", "stopped")
    assert "One. T" in content != "One. Two. Three."


def test_a_call_without_a_result_is_not_kept_and_what_came_before_is(path: Path) -> None:
    assert log_on(path).save(ask("Upper?", CALLS, stop="tool")) == ""
    assert kept(path) == [("user", "Upper?", 0, "whole"), ("assistant", "", 0, "stopped")]
    assert find_run(path, None).transcript.messages()[-1].reasoning == "Fig."


def test_nothing_is_kept_of_a_run_without_an_answer(path: Path) -> None:
    assert log_on(path).save(RunProgress("toy")) == ""
    progress = RunProgress("toy")
    progress.begin([GenerationSpec(Conversation((Message("user", "x"),)), None, (), Sampling())])
    assert log_on(path).save(progress) == ""
    assert not path.exists()


def test_a_run_that_continues_another_adds_to_it(path: Path) -> None:
    system = Message("system", "Be brief.")
    log_on(path, system=system.content).save(ask_after([system], "One?", "1"))
    saved = find_run(path, None)
    before = (system, *saved.transcript.messages())
    log_on(path, saved, system=system.content).save(ask_after(before, "Two?", "2"))
    assert [text for _, text, _, _ in kept(path)] == ["One?", "1", "Two?", "2"]
    assert find_run(path, None).id == saved.id


def test_runs_that_continue_the_same_one_at_once_lose_nothing(path: Path) -> None:
    log_on(path).save(ask("One?", [final("1")]))
    saved = find_run(path, None)
    answers = [ask_after(saved.transcript.messages(), f"{n}?", str(n)) for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        problems = [*pool.map(lambda progress: log_on(path, saved).save(progress), answers)]
    assert problems == [""] * 8
    with closing(Sessions.open(path)) as sessions:
        found = sessions.recent(kind="run")
    assert sorted(run.ending for run in found) == sorted(map(str, range(8)))
    assert {run.messages for run in found} == {4}
    assert all(kept(path, run.id)[0] == ("user", "One?", 0, "whole") for run in found)


def test_each_of_several_answers_is_a_run_of_its_own(path: Path) -> None:
    progress = RunProgress("toy")
    spec = GenerationSpec(Conversation((Message("user", "x"),)), None, (), Sampling())
    progress.begin([spec, spec, spec])
    done = [ask("x", [final(text)]) for text in ("one", "two")]
    for index, each in enumerate(done):
        progress.finish(index, each._generations[0])
    assert log_on(path).save(progress) == ""  # interrupted before the third
    with closing(Sessions.open(path)) as sessions:
        assert [run.ending for run in sessions.recent(kind="run")] == ["two", "one"]


def test_a_full_disk_is_reported_and_leaves_the_log_as_it_was(path: Path) -> None:
    resource = pytest.importorskip("resource")
    log_on(path).save(ask("One?", [final("1")]))
    before = kept(path)
    progress = ask("x" * 3_000, [final("2")])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 4_096, 12_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            assert "ossctl.db" in log_on(path).save(progress)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert kept(path) == before
    assert log_on(path).save(progress) == ""


def test_what_is_in_the_way_of_the_database_is_reported(path: Path) -> None:
    progress = ask("One?", [final("1")])
    path.mkdir(parents=True)
    assert str(path) in log_on(path).save(progress)
    path.rmdir()
    path.parent.rmdir()
    path.parent.touch()
    assert str(path) in log_on(path).save(progress)


def test_a_locked_and_a_deleted_run_are_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    progress = ask("One?", [final("1")])
    log_on(path).save(progress)
    saved = find_run(path, None)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert log_on(path).save(progress) == f"cannot use {path}: database is locked"
        other.rollback()
    with closing(Sessions.open(path)) as sessions:
        sessions.delete(saved.id)
    assert log_on(path, saved).save(progress) == f"session {saved.id} was deleted"
    with pytest.raises(UsageError, match="there is no run to continue"):
        find_run(path, None)


def test_settings_are_those_of_the_run_but_for_what_is_given() -> None:
    first = RunSettings(system="Be brief.", effort="low", schema={"type": "object"}, seed=3, temperature=0.5)
    first = RunSettings(**{**vars(first), "optional": frozenset({"effort"})})
    ours = RunSettings.of(GenerationOptions(effort="high", regex="[0-9]+"))

    def continued(*given: str, kept: ChatSettings = first) -> RunSettings:
        return Earlier(SavedSession("a", "", Transcript(), kept, MODEL, 1), given).settings(ours)

    assert continued() == first
    assert continued("model", "prompt", "files") == first
    assert (continued("effort").effort, continued("effort").optional) == ("high", frozenset())
    regex = continued("regex")
    assert (regex.schema, regex.regex, regex.system) == (None, "[0-9]+", "Be brief.")
    assert continued("schema").json_format is None
    assert continued(kept=ChatSettings(seed=4)) == RunSettings(seed=4)


def test_only_what_is_given_contradicts_a_raw_run_that_is_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    saved = SavedSession("a", "", Transcript(), RunSettings(raw=True), MODEL, 1)
    configured = GenerationOptions(system="Be brief.", effort="low", template_variables={"a": 1})
    request = RunOptions(["x"], generation=configured, earlier=Earlier(saved)).request()
    assert (request.settings.raw, request.settings.system) == (True, "")
    for name, option in (("system", "--system"), ("template_variables", "--template-var")):
        with pytest.raises(UsageError, match=f"{option} cannot be used with --raw"):
            RunOptions(["x"], generation=configured, earlier=Earlier(saved, [name])).request()


@pytest.mark.parametrize(
    "options",
    [
        GenerationOptions(schema='{"type": "object"}', schema_retries=0),
        GenerationOptions(regex="a+"),
        GenerationOptions(choices=("yes", "no"), stops=("\n",)),
        GenerationOptions(system="@ß", max_reasoning_tokens=5, think="off", template_variables={"a": [1]}),
    ],
)
def test_settings_survive_the_database(path: Path, options: GenerationOptions, tmp_path: Path) -> None:
    (tmp_path / "ß").write_text("@ is the first character", "utf-8")
    if options.system:
        options = GenerationOptions(**{**vars(options), "system": f"@{tmp_path / 'ß'}"})
    settings = RunSettings.of(options)
    RunLog(path, settings, MODEL, "").save(ask("One?", [final("1")]))
    saved = find_run(path, None).settings
    assert saved == settings
    assert isinstance(saved, RunSettings)
    assert (saved.json_format, saved.text_format) == (settings.json_format, settings.text_format)


def test_a_run_that_a_chat_continues_becomes_a_chat(path: Path) -> None:
    log_on(path, seed=3).save(ask("One?", [final("1")]))
    with closing(Sessions.open(path)) as sessions:
        log = SessionLog(sessions)
        saved = log.open(find_run(path, None).id)
        assert [run.id for run in sessions.recent(kind="run")] == [saved.id]
        log.add(saved.transcript, MessageEntry(Message("user", "Two?")))
        assert not sessions.recent(kind="run")
        (chat,) = sessions.recent(kind="chat")
        assert (chat.id, chat.messages) == (saved.id, 3)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE sessions SET settings = '{'",
        """UPDATE sessions SET settings = '{"temperature": "hot"}'""",
        "UPDATE messages SET calls = '[{}]'",
        "UPDATE messages SET token_ids = X'01'",
    ],
)
def test_a_run_with_damaged_contents_cannot_be_continued(path: Path, damage: str) -> None:
    log_on(path).save(ask("One?", [final("1")]))
    with closing(sqlite3.connect(path)) as database:
        database.execute(damage)
        database.commit()
    with pytest.raises(UsageError, match="cannot be read"):
        find_run(path, None)
