"""The templates of seventy models, and answers that llama.cpp's authors have written for them.

They come with llama.cpp's sources: the folder named by LLAMA_CPP_SOURCE, or those of the installed version.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from ossctl.dialect import Tool, ToolCall
from ossctl.engine.grammar import JsonGrammars
from ossctl.runtime.model import LlamaModel
from ossctl.templates.answer_parser import AnswerParser
from ossctl.templates.call_grammar import call_grammar
from ossctl.templates.derive import derive_format
from tests.support.sampling import sampled
from tools.template_table import PAGE, Measured, calls_in, lost_texts, measured, one_call_answers, table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

FUNCTION = "find"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 8},
        "unit": {"type": "string", "enum": ["C", "F"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
    },
    "required": ["city", "days"],
}
TOOLS = (Tool(FUNCTION, parameters=SCHEMA),)
_FUNCTION = {"type": "object", "properties": {"arg1": {"type": "integer"}}}


@pytest.fixture(scope="module")
def folder(llama_cpp_source: Path) -> Path:
    return llama_cpp_source


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[Measured]:
    return [measured(path) for path in sorted((folder / "models" / "templates").glob("*.jinja"))]


def test_every_template_renders_chats_without_losing_a_message(rows: list[Measured]) -> None:
    assert len(rows) >= 70
    assert [row.name for row in rows if not row.chats] == []


@pytest.mark.parametrize(
    ("turn", "most", "failures"), [("simple", 63, 0), ("rich", 63, 2), ("two", 57, 0), ("none", 63, 0)]
)
def test_calls_come_back_from_the_templates_own_text(
    rows: list[Measured], turn: str, most: int, failures: int
) -> None:
    tried = [row for row in rows if row.turns[turn] is not None]
    assert len(tried) >= most
    assert len([row.name for row in tried if not row.turns[turn]]) <= failures


def test_conversations_with_calls_results_and_reasoning_are_rendered(folder: Path) -> None:
    paths = sorted((folder / "models" / "templates").glob("*.jinja"))
    lost = {path.stem: texts for path in paths if (texts := lost_texts(path))}
    # These two have no place for a text beside calls, nor for another answer before them.
    no_place = {"Mistral-Small-3.2-24B-Instruct-2506", "mistralai-Mistral-Nemo-Instruct-2407"}
    assert {name: texts for name, texts in lost.items() if name not in no_place} == {}


def test_answers_that_others_have_written_are_read(folder: Path) -> None:
    answers = list(one_call_answers(folder))
    wrong = [
        (path.stem, text)
        for path, text in answers
        if calls_in(derive_format(path.read_text("utf-8")), text, {"special_function": _FUNCTION})
        != [("special_function", {"arg1": 1})]
    ]
    assert len(answers) >= 54
    assert len(wrong) / len(answers) < 4 / 54, wrong


def test_sampled_calls_of_every_template_parse_and_fit_their_schema(smol: LlamaModel, folder: Path) -> None:
    grammars, vocab = JsonGrammars(smol.vocab), smol.vocab
    wrong = []
    for path in sorted((folder / "models" / "templates").glob("*.jinja")):
        form = derive_format(path.read_text("utf-8"))
        if form.calls is None:
            continue
        grammar = call_grammar(form.calls, TOOLS, {})
        for seed in range(2):
            tokens = sampled(vocab, grammars.lark(grammar.text, grammar.schemas, "tools"), seed)
            parser = AnswerParser(form, {FUNCTION: SCHEMA}, vocab.piece, frozenset())
            events = [event for token in tokens for event in parser.feed(token)] + list(
                parser.close(cut=False)
            )
            calls = [event for event in events if isinstance(event, ToolCall)]
            if not calls or len(calls) != len(events):
                wrong.append((path.stem, events))
            for call in calls:
                validate(json.loads(call.arguments), SCHEMA)
    assert wrong == []


def test_reasoning_is_found_where_templates_know_of_it(rows: list[Measured]) -> None:
    assert len([row for row in rows if row.form.reasoning]) >= 42


def test_the_page_shows_what_is_derived(rows: list[Measured]) -> None:
    assert PAGE.read_text("utf-8").partition("<!-- table -->\n")[2] == table(rows)
