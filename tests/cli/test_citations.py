"""Citations of a model that browses a folder, from its answer to what `run` and `chat` show."""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from ossctl.app.inference.client import Client
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.inference.request import GenerationSpec
from ossctl.app.run.progress import RunProgress
from ossctl.app.run.run import RunResult, ToolLoop
from ossctl.app.tools.browser.folder_library import FolderLibrary
from ossctl.app.tools.browser.source import BrowserSource
from ossctl.app.tools.toolbox import Toolbox
from ossctl.cli.output import Output
from ossctl.cli.run_output import RunOutput
from ossctl.dialect import Conversation, Message
from ossctl.engine.request import Sampling
from ossctl.harmony.dialect import HarmonyDialect
from ossctl.repl.answer_display import AnswerDisplay
from ossctl.repl.surface import Surface
from ossctl.repl.terminal import Signals
from ossctl.repl.view import PlainView
from ossctl.runtime.context import ContextOptions
from ossctl.runtime.model import LlamaModel
from tests.support.scripted_calls import NoGrammars, Replies, final
from tests.support.scripted_chat import GivenAnswers, scripted_chat
from tests.support.toy_harmony import TOY

OPEN = '<|channel|>analysis to=browser.open code<|message|>{"id": "turku.md"}<|call|>'
ANSWER = "Old【0†L2】, old【0†L2】, odd【9†L2】:\n```\n【0†L2】\n```"
SHOWN = "Old[1], old[1], odd【9†L2】:\n```\n【0†L2】\n```"
FOOTNOTE = "[1] Turku (turku.md): “Founded around 1280.”"


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[Toolbox]:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "turku.md").write_text("# Turku\n\nFounded around 1280.\n", "utf-8")
    with closing(Toolbox([BrowserSource(FolderLibrary(tmp_path / "docs", tmp_path / "cache"))])) as toolbox:
        yield toolbox


def run(tools: Toolbox, output: RunOutput) -> None:
    """Let a scripted gpt-oss open the page and cite it."""
    dialect = HarmonyDialect(TOY, TOY.markers, NoGrammars())  # type: ignore[arg-type]
    model = LoadedModel("toy", Replies(replies=[OPEN, final(ANSWER)], n_seq=1), dialect, TOY.piece)
    conversation = Conversation((Message("user", "How old?"),), tools.offered, date=date(2026, 1, 31))
    spec = GenerationSpec(conversation, 500, (), Sampling(temperature=0))
    with Interrupt() as interrupt, Client(model, interrupt) as client:
        answers = ToolLoop(client, interrupt, output, tools, RunProgress()).run(spec, 1)
    output.finish(RunResult(tuple(answers), "toy", spec, 0.0))


def test_run_prints_footnotes_and_its_record_has_the_answer_as_it_is(
    tools: Toolbox, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tools, RunOutput(Output(), whole=True))
    assert capsys.readouterr().out == f"{SHOWN}\n\n{FOOTNOTE}\n"
    run(tools, RunOutput(Output(as_json=True), as_json=True))
    assert json.loads(capsys.readouterr().out)["answer"] == ANSWER
    run(tools, RunOutput(Output(), extract=True))
    assert capsys.readouterr().out == "【0†L2】\n"


def test_a_chat_shows_footnotes_below_an_answer_that_arrives_in_tokens(
    tools: Toolbox, gpt_oss: LlamaModel
) -> None:
    def answers(dialect: GivenAnswers) -> Iterator[Sequence[int]]:
        yield dialect.call("browser_open", '{"id": "turku.md"}')
        yield dialect.spelt("hm", ANSWER)
        yield dialect.spelt("hm", "Old, still【0†L2】.")
        yield dialect.spelt("hm", "I said so.")
        yield dialect.spelt("hm", "You asked `how old.")  # a summary

    options, out = ContextOptions(n_ctx=4096, n_ubatch=64, n_threads=1), io.StringIO()
    with scripted_chat(gpt_oss, answers, options, tools=tools) as scripted:
        view, signals = PlainView(out, io.StringIO()), Signals(scripted.chat.stop)
        surface = Surface(lambda: view, lambda _: None, interactive=False)
        for question in (
            "How old?",
            "Still?",
            "Sure?",
        ):  # as a chat that is continued does, each with a display of its own
            display = AnswerDisplay(scripted.chat, surface, signals)
            with signals:
                display.show(scripted.chat.send(question, lambda *_: True))
        with signals:
            display.show(scripted.chat.compact())
    assert out.getvalue() == (
        f"{SHOWN}\n\n{FOOTNOTE}\nOld, still[1].\n\n{FOOTNOTE}\nI said so.\nYou asked `how old.\n"
    )
