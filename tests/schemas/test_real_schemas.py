"""Schemas as pydantic, zod, OpenAPI, tool servers and the drafts' own tests write them: real.jsonl."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from ossctl.app.library.resolve import NANO_FILE
from ossctl.engine.grammar import JsonGrammar, JsonGrammars, unheld_keywords
from ossctl.runtime.model import LlamaModel
from ossctl.schemas.validator import complaint

REAL = [json.loads(line) for line in (Path(__file__).parent / "real.jsonl").read_text().splitlines()]
MAX_TOKENS = 100


@pytest.fixture(scope="module")
def nano() -> Iterator[LlamaModel]:
    with LlamaModel(NANO_FILE) as model:
        yield model


def walk(made: JsonGrammar, model: LlamaModel, rng: Random) -> str | None:
    """A random text of the grammar, None if it gets too long."""
    closers = {token for closer in '"}]' for token in model.vocab.tokenize(closer)}
    tokens: list[int] = []
    while not made.finished and len(tokens) < MAX_TOKENS:
        forced = list(made.forced())
        if not forced:
            allowed = set((~made.banned()).nonzero()[0].tolist()) - model.vocab.special_ids
            if made.complete and (not allowed or rng.random() < 0.5):
                break
            closing = allowed & closers
            forced = [rng.choice(sorted(closing if closing and rng.random() < 0.7 else allowed))]
        for token in forced:
            made.accept(token)
        tokens += forced
    return b"".join(map(model.vocab.piece, tokens)).decode() if made.complete else None


def test_every_real_schema_has_a_grammar_whose_texts_fit(nano: LlamaModel) -> None:
    """Texts of a grammar that holds all of its schema always fit, the others mostly."""
    grammars = JsonGrammars(nano.vocab)
    fitting, misfits = 0, []
    for entry in REAL:
        text = walk(grammars.json(entry["schema"], entry["name"]), nano, Random(1))
        if text is None:
            continue
        reason = complaint(json.loads(text), entry["schema"])
        fitting += not reason
        if reason and not unheld_keywords(entry["schema"]):
            misfits.append(f"{entry['name']}: {text[:80]} {reason}")
    assert misfits == []
    assert fitting > 0.9 * len(REAL) > 200
