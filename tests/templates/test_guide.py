"""Answers held to a JSON schema, with SmolLM2: its weights, its vocabulary, its chat template."""

import json
import re
from typing import Any

import jsonschema
import numpy as np
import pytest

from ossctl.dialect import Conversation, JsonFormat, Message
from ossctl.engine.engine import Engine
from ossctl.engine.grammar import JsonGrammars
from ossctl.engine.request import FinishReason, Generated, Request, Sampling
from ossctl.errors import RequestError
from ossctl.guide import Guide, TextFormat
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel
from ossctl.templates.dialect import TemplateDialect
from tests.support.scripted import run, tokens_of

# Every part is bounded, so that answers end.
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "people": {"type": "integer", "minimum": 0, "maximum": 40_000_000},
        "coast": {"type": ["boolean", "null"]},
        "continent": {"enum": ["Africa", "America", "Asia", "Australia", "Europe"]},
        "sights": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 2},
    },
    "required": ["name", "people", "coast", "continent", "sights"],
    "additionalProperties": False,
}
COLOURS: dict[str, Any] = {
    "type": "array",
    "items": {"enum": ["red", "green", "blue"]},
    "minItems": 2,
    "maxItems": 3,
}
LISBON = (Message("user", "Describe Lisbon."),)


@pytest.fixture(scope="module")
def grammars(smol: LlamaModel) -> JsonGrammars:
    return JsonGrammars(smol.vocab)


def dialect_of(model: LlamaModel, grammars: JsonGrammars, ending: str = "") -> TemplateDialect:
    """The model's own template, with `ending` appended to the prompt."""
    return TemplateDialect(f"{model.chat_template}{{{{ {ending!r} }}}}", model.vocab, grammars)


def guide_of(dialect: TemplateDialect, schema: dict[str, Any]) -> Guide:
    conversation = Conversation(LISBON, json_format=JsonFormat(schema))
    guide = dialect.guide(conversation, dialect.render(conversation))
    assert guide is not None
    return guide


def wander(model: LlamaModel, guide: Guide, seed: int) -> str:
    """The text of one random answer that the guide allows."""
    rng, text = np.random.default_rng(seed), b""
    for _ in range(200):
        token, *_ = guide.forced() or (chosen(model, guide, rng),)
        if token == model.vocab.end_id:
            return text.decode()
        text += model.vocab.piece(token)
        guide.accept(token)
    raise AssertionError(text)


def chosen(model: LlamaModel, guide: Guide, rng: np.random.Generator) -> int:
    banned = guide.banned()
    assert banned is not None
    return int(rng.choice(np.delete(np.arange(model.n_vocab), banned.nonzero()[0])))


def test_the_models_answer_is_json_that_fits_the_schema(smol: LlamaModel, grammars: JsonGrammars) -> None:
    dialect, rivals = dialect_of(smol, grammars), {"city": CITY, "colours": COLOURS}
    with LlamaRunner(smol, ContextOptions(n_ctx=256, n_seq=4)) as runner:
        engine = Engine(runner)
        for name, schema in rivals.items():
            conversation = Conversation(LISBON, json_format=JsonFormat(schema))
            prompt = dialect.render(conversation)
            for seed, temperature in enumerate((0, 1, 1, 2)):
                request = Request(
                    f"{name} {seed}",
                    np.array(prompt, np.int32),
                    200,
                    Sampling(temperature, seed=seed),
                    dialect.end_ids,
                    dialect.guide(conversation, prompt),
                )
                engine.submit(request)
        answers = run(engine)
    assert len(answers) == 8
    for name, outputs in answers.items():
        *tokens, end = tokens_of(outputs)
        text = b"".join(map(smol.vocab.piece, tokens)).decode()
        jsonschema.validate(json.loads(text), rivals[name.partition(" ")[0]])
        assert end in dialect.end_ids
        last = outputs[-1]
        assert isinstance(last, Generated)
        assert last.finish is FinishReason.STOP


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ending", ["", "<think>\n\n</think>\n\n"], ids=["no reasoning", "closed reasoning"])
def test_any_choice_of_allowed_tokens_fits_the_schema(
    smol: LlamaModel, grammars: JsonGrammars, ending: str, seed: int
) -> None:
    text = wander(smol, guide_of(dialect_of(smol, grammars, ending), COLOURS), seed)
    jsonschema.validate(json.loads(text), COLOURS)
    assert " " not in text


def test_reasoning_that_the_template_opened_is_free_and_json_follows_it(
    smol: LlamaModel, grammars: JsonGrammars
) -> None:
    guide = guide_of(dialect_of(smol, grammars, "<think>\n"), COLOURS)
    for token in smol.vocab.tokenize("Is {red} </thin a colour? Yes.</think>"):
        assert not guide.forced()
        assert not set(np.arange(smol.n_vocab)[guide.banned()]) - smol.vocab.end_ids
        guide.accept(token)
    jsonschema.validate(json.loads(wander(smol, guide, 1)), COLOURS)


def test_after_a_complete_json_only_the_end_can_come(smol: LlamaModel, grammars: JsonGrammars) -> None:
    guide = guide_of(dialect_of(smol, grammars), {"const": 5})
    (five,) = smol.vocab.tokenize("5")
    assert smol.vocab.end_id not in guide.forced()
    guide.accept(five)
    assert list(guide.forced()) == [smol.vocab.end_id]


def test_a_regular_expression_holds_after_the_reasoning(smol: LlamaModel, grammars: JsonGrammars) -> None:
    dialect = dialect_of(smol, grammars, "<think>")
    conversation = Conversation(LISBON, text_format=TextFormat("regex", "[0-9]{2}"))
    guide = dialect.guide(conversation, dialect.render(conversation))
    assert guide is not None
    for token in smol.vocab.tokenize("Anything.\n</think>"):
        assert not set(np.arange(smol.n_vocab)[guide.banned()]) - smol.vocab.end_ids
        guide.accept(token)
    assert re.fullmatch("[0-9]{2}", wander(smol, guide, 1))


def test_without_a_format_there_is_no_guide(smol: LlamaModel, grammars: JsonGrammars) -> None:
    dialect, conversation = dialect_of(smol, grammars), Conversation(LISBON)
    assert dialect.guide(conversation, dialect.render(conversation)) is None


@pytest.mark.parametrize("schema", [{"type": "colour"}, {"$ref": "#/no/such/place"}, {"not": {}}])
def test_a_schema_that_cannot_be_enforced_is_refused_by_name(
    smol: LlamaModel, grammars: JsonGrammars, schema: dict[str, Any]
) -> None:
    with pytest.raises(RequestError, match=r"^response_format\.json_schema\.schema: \w"):
        guide_of(dialect_of(smol, grammars), schema)
