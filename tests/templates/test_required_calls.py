"""A model with random weights, whose every choice is noise, makes the call that it has to make."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from ossctl.app.inference.generation import Generation
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.inference.request import GenerationSpec, prepare_generation
from ossctl.dialect import Conversation, Event, Message, Reasoning, Recovered, Tool, ToolCall, ToolChoice
from ossctl.engine.engine import Engine
from ossctl.engine.grammar import JsonGrammars
from ossctl.engine.request import FinishReason, Generated, Sampling
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel
from ossctl.templates.derive import derive_format
from ossctl.templates.dialect import TemplateDialect
from tests.support.chat_templates import CALLS, FAMILIES
from tests.support.small_models import small_model

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "unit": {"enum": ["C", "F"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "at": {"type": ["number", "null"], "minimum": 0, "maximum": 24},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
        "where": {
            "type": "object",
            "properties": {"street": {"type": "string", "maxLength": 6}},
            "required": ["street"],
            "additionalProperties": False,
        },
    },
    "required": ["city", "days", "where"],
    "additionalProperties": False,
}
TOOLS = (Tool("get_weather", parameters=SCHEMA, strict=True), Tool("now"))
SCHEMAS = {"get_weather": SCHEMA, "now": {"maxProperties": 0}}
TEMPLATES = {**CALLS, **FAMILIES}
# What families have as single tokens, which are then control tokens of the vocabulary.
_MARKERS = re.compile(r"<[^<>\s{}'\"]{2,40}>|\[/?[A-Z_]{3,}\]")
_FAST = ("JSON in tags", "name outside", "typed")
KINDS = [pytest.param(kind, marks=() if kind in _FAST else pytest.mark.slow) for kind in TEMPLATES]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "single",
    [
        pytest.param(True, id="markers are tokens"),
        pytest.param(False, id="markers are text", marks=pytest.mark.slow),
    ],
)
def test_a_required_call_parses_and_fits_its_schema_whatever_the_model(
    tmp_path: Path, kind: str, single: bool
) -> None:
    assert_required_calls_fit(
        tmp_path, TEMPLATES[kind], single=single, seeds=range(2 if kind in _FAST else 6)
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_required_calls_of_every_template_parse_and_fit_their_schema(
    tmp_path: Path, llama_cpp_source: Path
) -> None:
    n_tried = 0
    for path in sorted((llama_cpp_source / "models" / "templates").glob("*.jinja")):
        template = path.read_text("utf-8")
        form = derive_format(template)
        if form.calls is not None and form.rules.tools:
            assert_required_calls_fit(tmp_path, template, single=True, seeds=range(1))
            n_tried += 1
    assert n_tried > 50


def assert_required_calls_fit(folder: Path, template: str, *, single: bool, seeds: Sequence[int]) -> None:
    """Required and named calls that a model with random weights makes, streamed, with `template`."""
    asked = Conversation((Message("user", "Weather?"),), TOOLS)
    if derive_format(template).reasoning is not None:
        asked = replace(asked, max_reasoning_tokens=20)
    specs = [
        GenerationSpec(
            replace(asked, tool_choice=ToolChoice("required", name)), 1200, (), Sampling(1, seed=seed)
        )
        for name in ("", "get_weather", "now")
        for seed in seeds
    ]
    markers = _MARKERS.findall(template) if single else ()
    with LlamaModel(small_model(folder / "noise.gguf", "qwen3", control=markers)) as model:
        for spec, (generation, events) in zip(specs, answered(model, template, specs), strict=True):
            text = b"".join(map(model.vocab.piece, generation.tokens))
            assert all(isinstance(event, ToolCall | Reasoning | Recovered) for event in events), (
                events,
                text,
            )
            calls = generation.calls
            if generation.finish is FinishReason.LENGTH:  # noise may make calls without end
                assert len(calls) > 1, text
                calls = calls[:-1]
            else:
                assert generation.finish is FinishReason.TOOL_CALLS, text
                assert not generation.recovered, (generation.recovered, text)
            assert calls, text
            for call in calls:
                assert spec.conversation.tool_choice.name in ("", call.name)
                validate(json.loads(call.arguments), SCHEMAS[call.name])


def answered(
    model: LlamaModel, template: str, specs: Sequence[GenerationSpec]
) -> list[tuple[Generation, list[Event]]]:
    """The answers to `specs`, and the events of each as they were streamed."""
    dialect = TemplateDialect(template, model.vocab, JsonGrammars(model.vocab))
    with LlamaRunner(model, ContextOptions(n_ctx=16_384, n_seq=len(specs), n_threads=1)) as runner:
        loaded = LoadedModel("noise", runner, dialect, model.vocab.piece)
        engine = Engine(runner)
        found: dict[str, tuple[Generation, list[Event]]] = {}
        for number, spec in enumerate(specs):
            events: list[Event] = []
            generation = prepare_generation(loaded, spec, str(number), events.append)
            found[str(number)] = generation, events
            engine.submit(generation.request)
        while engine.busy:
            for output in engine.step():
                assert isinstance(output, Generated), output
                found[output.id][0].feed(output)
    return list(found.values())
