"""Messages, edits and models of a chat, without a terminal."""

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from inspect import getgeneratorstate
from itertools import count
from pathlib import Path
from time import sleep

import pytest

from ossctl.app.chat.background_load import BackgroundLoad, ModelFile
from ossctl.app.chat.events import ChatEvent, Prefilling
from ossctl.app.chat.model_session import ModelSession
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.tools.command import ToolCommand, ToolCommands
from ossctl.app.tools.mcp.server import McpServer
from ossctl.app.tools.mcp.source import McpSource
from ossctl.app.tools.options import ToolOptions
from ossctl.app.tools.toolbox import Toolbox
from ossctl.dialect import Answer, Tool
from ossctl.errors import UsageError
from ossctl.repl import surface
from ossctl.repl.chat_model import ChatModel
from ossctl.repl.commands import all_commands
from ossctl.repl.repl import Repl
from ossctl.repl.setup import Setup
from ossctl.repl.surface import Surface
from ossctl.repl.terminal import Signals
from ossctl.repl.toolbar import toolbar
from ossctl.repl.view import PlainView
from ossctl.runtime.base import Chunk, Logits
from ossctl.runtime.context import ContextOptions
from ossctl.runtime.model import LlamaModel
from tests import support
from tests.support.scripted_chat import GivenAnswers, Scripted, scripted_chat

OPTIONS = ContextOptions(n_ctx=2048, n_ubatch=64, n_threads=1)


class SettableLoad:
    """A load that a test settles."""

    file = ModelFile("tiny", Path("tiny.gguf"))
    error: Exception | None = None

    def __init__(self, session: ModelSession, *, settled: bool = True) -> None:
        self.settled = settled
        self._session = session

    @property
    def is_over(self) -> bool:
        return self._session.failed

    def start(self) -> None:
        pass

    def wait(self, _seconds: float) -> bool:
        return self.settled

    def close(self) -> None:
        pass

    def session(self) -> ModelSession:
        assert self.settled, "nothing may wait here"
        return self._session


class WatchedView(PlainView):
    """Does what a test wants at each event."""

    def __init__(self, out: io.StringIO) -> None:
        super().__init__(out, out)
        self.on_event: Callable[[ChatEvent], None] = lambda _: None

    def take(self, event: ChatEvent) -> None:
        super().take(event)
        self.on_event(event)


@dataclass
class Opened:
    """A Repl on a scripted chat."""

    repl: Repl
    scripted: Scripted
    view: WatchedView
    lines: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        return [turn.text for turn in self.repl.chat.transcript.turns]

    def reply(self, question: str) -> str:
        """The next reply; Ctrl-C stops the answer and the question."""
        self.questions.append(question)
        if (reply := self.replies.pop(0)) == "\x03":
            self.repl.chat.stop()
            raise KeyboardInterrupt
        return reply


def numbered(dialect: GivenAnswers) -> Iterator[Sequence[int]]:
    for n in count(1):
        yield dialect.spelt("hm", f"Answer {n}.")


def setup_of(scripted: Scripted, monkeypatch: pytest.MonkeyPatch, history: Path = Path("history")) -> Setup:
    model = ChatModel("tiny", LoadOptions(), lambda _: SettableLoad.file)
    monkeypatch.setattr(model, "_load", SettableLoad(scripted.chat.model_session))
    python = ToolOptions().new_python
    return Setup(scripted.chat, model, history, lambda *_: (), lambda: (), new_python=python)


def opened_repl(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> Opened:
    view, lines = WatchedView(io.StringIO()), list[str]()
    setup = setup_of(scripted, monkeypatch)
    shown = Surface(lambda: view, lines.append, interactive=True)
    opened = Opened(Repl(setup, shown, all_commands(), Signals(lambda: None)), scripted, view, lines)
    monkeypatch.setattr(surface, "ask", opened.reply)
    return opened


@pytest.fixture
def opened(gpt_oss: LlamaModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    with scripted_chat(gpt_oss, numbered, OPTIONS) as scripted:
        yield opened_repl(scripted, monkeypatch)


@pytest.fixture
def stops_during_prefill(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every prefill takes long, and is stopped as soon as it is visible."""
    decode = opened.scripted.runner.decode

    def slow(chunks: Sequence[Chunk]) -> Logits:
        sleep(0.2)
        return decode(chunks)

    def stop(event: ChatEvent) -> None:
        if isinstance(event, Prefilling):
            opened.repl.chat.stop()

    monkeypatch.setattr(opened.scripted.runner, "decode", slow)
    opened.view.on_event = stop


PRESETS = """
[preset.brief]
system = "@brief.txt"
temperature = 0.5
stop = "END"
tool-cmd = { a = "b" }
[preset.hot]
preset = "brief"
temperature = 0.9
[preset.wrong]
top-p = "much"
[preset.empty]
stop = ["END", ""]
"""


def test_presets_are_applied_to_a_chat(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.toml").write_text(PRESETS)
    (tmp_path / "brief.txt").write_text("Be brief.\n")
    monkeypatch.setenv("OSSCTL_CONFIG", str(tmp_path / "config.toml"))
    opened.repl.handle("/preset")
    opened.repl.handle("/preset hot")
    assert opened.lines == [
        "Presets: brief, hot, wrong, empty.",
        "Set by hot: system, temperature, stop.",
        "Only at the start of a chat, with -P: tool-cmd.",
    ]
    settings = opened.repl.chat.settings
    assert (settings.system, settings.temperature, settings.stops) == ("Be brief.", 0.9, ("END",))
    opened.repl.handle("/preset brief wrong")
    opened.repl.handle("/preset empty")
    opened.repl.handle("/preset none")
    assert any("line 11: preset.wrong.top-p: top_p cannot be much" in line for line in opened.lines)
    assert any("preset.empty.stop: stop is an empty text" in line for line in opened.lines)
    assert opened.repl.chat.settings is settings


def test_a_message_that_was_sent_leaves_an_empty_composer(opened: Opened, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("Monday.", "utf-8")
    opened.repl.handle(f"/file {notes}")
    opened.repl.handle("When?")
    composer = opened.repl.composer
    assert (composer.draft, composer.editing, composer.attachments) == ("", None, ())
    assert opened.texts == [f"When?\n\n{notes}:\n```\nMonday.\n```"]


def test_a_message_that_is_stopped_before_its_answer_stays_in_the_composer(
    opened: Opened, tmp_path: Path, stops_during_prefill: None
) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("Monday.", "utf-8")
    opened.repl.handle(f"/file {notes}")
    opened.repl.handle("When?")
    assert opened.lines[-1] == "Stopped before the answer began."
    assert opened.texts == []
    assert opened.repl.composer.take_draft() == "When?"
    assert [file.name for file in opened.repl.composer.attachments] == [str(notes)]


def test_a_mistyped_command_stays_in_the_composer(opened: Opened) -> None:
    for text in ("/hlep me", "/effort huge"):
        opened.repl.handle(text)
        assert opened.repl.composer.take_draft() == text
    assert opened.texts == []


def test_what_is_pasted_is_a_message_also_if_it_names_a_command(opened: Opened) -> None:
    opened.repl.handle("/clear", pasted=True)
    opened.repl.handle("/no_think Hello?")
    assert opened.texts == ["/clear", "/no_think Hello?"]


def test_an_edit_replaces_the_turn_and_what_follows_when_it_is_sent(opened: Opened) -> None:
    for text in ("One?", "Two?", "Three?", "/edit 2"):
        opened.repl.handle(text)
    assert opened.repl.composer.take_draft() == "Two?"
    assert opened.texts == ["One?", "Two?", "Three?"]
    opened.repl.handle("Two, edited?")
    assert opened.texts == ["One?", "Two, edited?"]
    assert opened.repl.composer.editing is None


@pytest.mark.parametrize("leave", ["/stats", None])
def test_an_edit_ends_with_a_command_or_when_it_is_cleared(opened: Opened, leave: str | None) -> None:
    for text in ("One?", "Two?", "/edit 1"):
        opened.repl.handle(text)
    if leave:
        opened.repl.handle(leave)
    else:
        opened.repl.composer.cancel_edit()
    opened.repl.handle("Three?")
    assert opened.texts == ["One?", "Two?", "Three?"]


def test_an_edit_that_is_not_sent_changes_nothing(opened: Opened) -> None:
    for text in ("One?", "Two?", "/edit 1"):
        opened.repl.handle(text)
    turn = opened.repl.composer.editing
    opened.repl.handle("x" * 3000)
    assert opened.lines[-2].startswith("The message has ")
    assert opened.texts == ["One?", "Two?"]
    assert opened.repl.composer.editing == turn
    assert opened.repl.composer.draft == "x" * 3000


def test_a_message_for_which_the_user_frees_no_space_is_not_sent(opened: Opened) -> None:
    for _ in range(4):
        opened.repl.handle("x" * 300)
    opened.replies = ["n"]
    opened.repl.handle("y" * 500)
    assert opened.lines[-1] == "Not sent. /compact, /undo and /clear free space."
    assert opened.repl.composer.draft == "y" * 500
    opened.replies = ["d"]
    opened.repl.handle("y" * 500)
    assert opened.texts[-1] == "y" * 500
    assert opened.repl.chat.transcript.hidden == 1


def test_a_second_ctrl_c_closes_the_answer_at_once_and_keeps_its_start(opened: Opened) -> None:
    def interrupt(event: ChatEvent) -> None:
        if isinstance(event, Answer):
            raise KeyboardInterrupt

    opened.view.on_event = interrupt
    opened.repl.ready()
    events = opened.repl.chat.send("Hello?", lambda *_: True)
    with pytest.raises(KeyboardInterrupt):
        opened.repl._display.show(events)
    assert getgeneratorstate(events) == "GEN_CLOSED"
    assert [answer.state for answer in opened.repl.chat.transcript.answers] == ["stopped"]


def test_the_toolbar_does_not_take_the_model_that_has_been_loaded(opened: Opened) -> None:
    chat = opened.repl.chat
    chat.use(None, chat.model)
    assert [part.text for part in toolbar(opened.repl)] == ["loading tiny …"]
    assert not chat.is_ready
    opened.repl.update_model()
    assert chat.is_ready
    assert [part.text for part in toolbar(opened.repl)][:2] == ["tiny", "effort medium"]


def test_the_toolbar_shows_that_a_model_could_not_be_loaded(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.repl.chat.use(None, opened.repl.chat.model)
    monkeypatch.setattr(SettableLoad, "error", UsageError("too large"))
    opened.repl.update_model()
    (part,) = toolbar(opened.repl)
    assert (part.text, part.is_warning) == ("tiny is not loaded", True)


def test_a_model_that_has_failed_is_loaded_again_while_the_prompt_waits_for_keys(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, session = opened.repl.chat, opened.repl.chat.model_session
    again = SettableLoad(session, settled=False)
    started: list[BackgroundLoad | None] = []

    def start(_find: object, _options: object, _settled: object, previous: BackgroundLoad | None) -> object:
        started.append(previous)
        session.failed = False
        return again

    monkeypatch.setattr("ossctl.repl.chat_model.BackgroundLoad", start)
    failed = opened.repl.model._load
    session.failed = True
    for _ in range(3):
        opened.repl.update_model()
        assert [part.text for part in toolbar(opened.repl)] == ["loading tiny …"]
    assert started == [failed]  # it is closed by the load that replaces it
    again.settled = True
    opened.repl.update_model()
    assert chat.is_ready
    opened.repl.handle("Hello?")
    assert opened.texts == ["Hello?"]


def test_ctrl_c_while_another_model_loads_goes_back_to_the_previous_one(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened.repl.chat.model_session

    class Interrupted(SettableLoad):
        def session(self) -> ModelSession:
            raise KeyboardInterrupt

    loads = iter([Interrupted(session), SettableLoad(session)])
    monkeypatch.setattr("ossctl.repl.chat_model.BackgroundLoad", lambda *_: next(loads))
    opened.repl.handle("/model other")
    assert opened.lines[-2:] == ["Loading other was stopped.", "tiny is loaded again."]
    opened.repl.handle("Hello?")
    assert opened.texts == ["Hello?"]


@pytest.mark.parametrize("started", [False, True])
def test_ctrl_c_just_when_a_load_starts_loses_no_model(
    monkeypatch: pytest.MonkeyPatch, started: bool
) -> None:
    found: list[str | None] = []

    def find(reference: str | None) -> ModelFile:
        found.append(reference)
        raise UsageError(f"{reference} is not here")

    def interrupted(load: BackgroundLoad) -> None:
        monkeypatch.undo()
        if started:
            load.start()
        raise KeyboardInterrupt

    model = ChatModel("first", LoadOptions(), find)
    monkeypatch.setattr(BackgroundLoad, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.start_load()
    assert model.needs_load == (not started)
    if not started:
        model.start_load()
    assert model.wait(30)
    assert found == ["first"]
    assert isinstance(model.error, UsageError)
    model.close()


def test_ctrl_c_in_a_command_stops_it_and_nothing_else(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(opened.repl.chat, "fork", interrupted)
    opened.repl.handle("/fork")
    assert opened.lines == ["Stopped."]


def test_an_error_repeats_an_argument_as_it_was_typed(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").touch()
    opened.repl.handle("Hi.")
    for line, error in (
        ("/edit last", "last is not a message number."),
        ("/save notes", "notes exists."),
        ("/effort huge", "huge is not one of low, medium, high: /effort [low|medium|high]."),
    ):
        opened.repl.handle(line)
        assert error in opened.lines


def test_an_unexpected_error_of_a_command_is_reported(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("odd")

    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path))
    monkeypatch.setattr(opened.repl.chat, "fork", fail)
    opened.repl.handle("/fork")
    assert opened.lines[0] == "Unexpected error: RuntimeError: odd."
    (report,) = tmp_path.glob("state/crash-*.txt")
    assert "RuntimeError: odd" in report.read_text("utf-8")


@pytest.mark.parametrize(
    ("replies", "asked", "ran"), [(["n", "n"], 2, 0), (["y", "y"], 2, 2), (["a"], 1, 2), (["", "y"], 2, 1)]
)
def test_tools_run_once_always_or_not_at_all_as_the_user_says(
    gpt_oss: LlamaModel,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    replies: list[str],
    asked: int,
    ran: int,
) -> None:
    def answers(dialect: GivenAnswers) -> Iterator[Sequence[int]]:
        while True:
            yield dialect.call("note", "{}")
            yield dialect.spelt("hm", "Done.")

    log = tmp_path / "log"
    program = (sys.executable, "-c", f"open({str(log)!r}, 'a').write('x')")
    tools = Toolbox([ToolCommands((Tool("note"),), {"note": ToolCommand(program, 20.0)})])
    with scripted_chat(gpt_oss, answers, OPTIONS, tools=tools) as scripted:
        opened = opened_repl(scripted, monkeypatch)
        opened.replies = replies
        opened.repl.handle("Note it.")
        opened.repl.handle("And again.")
    assert len(opened.questions) == asked
    assert (log.read_text("utf-8") if log.exists() else "") == "x" * ran


def clipboard(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file to which text is copied: the only program that can be found writes it."""
    copied = folder / "copied"
    program = folder / "pbcopy"
    code = f"import sys; open({str(copied)!r}, 'w').write(sys.stdin.read())"
    program.write_text(f"#!{sys.executable}\n{code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return copied


def test_copy_takes_the_answer_to_the_last_message_and_nothing_older(
    gpt_oss: LlamaModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def answers(dialect: GivenAnswers) -> Iterator[Sequence[int]]:
        yield dialect.spelt("hm", "Answer 1.")
        yield dialect.spelt("hm", "")
        yield dialect.call("unknown", "{}")

    copied = clipboard(tmp_path, monkeypatch)
    with scripted_chat(gpt_oss, answers, OPTIONS) as scripted:
        opened = opened_repl(scripted, monkeypatch)
        opened.repl.handle("/copy")
        assert opened.lines[-1] == "There are no messages yet."
        opened.repl.handle("One?")
        opened.repl.handle("/copy")
        assert opened.lines[-1] == "Copied the last answer with pbcopy."
        assert copied.read_text("utf-8") == "Answer 1."
        copied.unlink()
        for question in ("Two?", "Three?"):
            opened.repl.handle(question)
            opened.repl.handle("/copy")
            assert opened.lines[-1] == "The last message has no answer to copy."
    assert opened.texts == ["One?", "Two?", "Three?"]
    assert not copied.exists()


def test_mcp_servers_are_listed_and_their_functions_searched(
    gpt_oss: LlamaModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = str(Path(next(iter(support.__path__))) / "mcp_by_hand.py")
    servers = [McpServer("old", (sys.executable, script, "good"), shown="old.py", tools=("a*", "e*"))]
    source = McpSource(servers, 20.0)
    with scripted_chat(gpt_oss, numbered, OPTIONS, tools=Toolbox([source])) as scripted, closing(source):
        opened = opened_repl(scripted, monkeypatch)
        for line in ("/mcp", "Hello", "/mcp", "/mcp END", "/mcp nothing"):
            opened.repl.handle(line)
    assert opened.lines == [
        "old: not started (old.py)",
        "MCP server old: 2 functions.",
        "old: running, 2 functions (old.py)",
        "  old_ask: no description",
        "  old_end: no description",
        "old_end: no description",
        "No function matches. Servers that have not started are not searched.",
    ]


def test_a_chat_without_mcp_servers_says_how_to_start_one(opened: Opened) -> None:
    opened.repl.handle("/mcp")
    assert "ossctl chat --mcp COMMAND" in opened.lines[0]


def test_ctrl_c_at_the_question_stops_the_answer_and_is_recorded_as_a_stop(
    gpt_oss: LlamaModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = ToolCommand((sys.executable, "-c", "pass"), 20.0)
    tools = Toolbox([ToolCommands((Tool("note"),), {"note": program})])
    with scripted_chat(gpt_oss, lambda given: [given.call("note", "{}")], OPTIONS, tools=tools) as scripted:
        opened = opened_repl(scripted, monkeypatch)
        opened.replies = ["\x03"]
        opened.repl.handle("Note it.")
        *_, result = opened.repl.chat.transcript.messages()
    assert "the user stopped this call" in result.content
    assert opened.lines[-1].startswith("Stopped.")


def test_python_is_switched_on_and_off(gpt_oss: LlamaModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_chat(gpt_oss, lambda given: [given.spelt("hm", "Done.")], OPTIONS) as scripted:
        opened = opened_repl(scripted, monkeypatch)
        opened.repl.handle("/python")
        assert opened.lines[-1] == "The model has no Python."
        opened.repl.handle("/python on")
        assert opened.lines[-1].startswith("The model may run Python: ")
        assert [tool.name for tool in opened.repl.chat.prompts.tools] == ["python"]
        opened.repl.handle("/tools")
        assert opened.lines[-1].startswith("python: ")
        opened.repl.handle("/python off")
        assert not opened.repl.chat.prompts.tools


def test_a_program_that_is_called_python_is_not_switched_off(
    gpt_oss: LlamaModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = ToolCommand((sys.executable, "-c", "pass"), 20.0)
    names = ("note", "python")
    tools = Toolbox([ToolCommands(tuple(map(Tool, names)), dict.fromkeys(names, program))])
    with scripted_chat(gpt_oss, lambda given: [given.spelt("hm", "Done.")], OPTIONS, tools=tools) as scripted:
        opened = opened_repl(scripted, monkeypatch)
        opened.repl.handle("/python off")
        assert opened.lines[-1] == "The model has no Python."
        assert [tool.name for tool in opened.repl.chat.prompts.tools] == [*names]
