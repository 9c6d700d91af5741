"""Models with a chat template read the schema that their answers are held to."""

import pytest

from ossctl.dialect import Conversation, JsonFormat, Message
from ossctl.engine.grammar import JsonGrammars
from ossctl.runtime.model import LlamaModel
from ossctl.templates.dialect import TemplateDialect

COLOUR = {"type": "object", "properties": {"c": {"type": "string", "description": "in hex"}}}
NOTE = (
    "Answer in JSON. A colour.\nHere's the json schema you must adhere to:\n<schema>\n"
    '{"type":"object","properties":{"c":{"type":"string","description":"in hex"}}}\n</schema>'
)
ROLES = "{% for m in messages %}[{{ m.role }}: {{ m.content | trim }}]{% endfor %}"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + ROLES
ONLY_USERS = "{% for m in messages if m.role == 'user' %}[user: {{ m.content }}]{% endfor %}"


def prompt(model: LlamaModel, template: str, *messages: Message, form: JsonFormat | None) -> str:
    dialect = TemplateDialect(template, model.vocab, JsonGrammars(model.vocab))
    tokens = dialect.render(Conversation(messages, json_format=form))
    return b"".join(map(model.vocab.piece, tokens)).decode()


@pytest.mark.parametrize(
    ("template", "system", "expected"),
    [
        (ROLES, (), f"[system: {NOTE}][user: Sky?]"),
        (ROLES, (Message("system", "Be brief."),), f"[system: Be brief.\n\n{NOTE}][user: Sky?]"),
        (ROLES, (Message("developer", "Be brief."),), f"[system: Be brief.\n\n{NOTE}][user: Sky?]"),
        (NO_SYSTEM, (), f"[user: {NOTE}\n\nSky?]"),
        (ONLY_USERS, (Message("system", "Be brief."),), f"[user: {NOTE}\n\nSky?]"),
    ],
)
def test_the_schema_is_where_the_template_shows_it(
    smol: LlamaModel, template: str, system: tuple[Message, ...], expected: str
) -> None:
    form = JsonFormat(COLOUR, "answer", "A colour.")
    assert prompt(smol, template, *system, Message("user", "Sky?"), form=form) == expected


def test_any_json_needs_no_schema(smol: LlamaModel) -> None:
    form = JsonFormat({"type": "object"})
    assert prompt(smol, ROLES, Message("user", "Sky?"), form=form) == "[system: Answer in JSON.][user: Sky?]"
    assert prompt(smol, ROLES, Message("user", "Sky?"), form=None) == "[user: Sky?]"


def test_markers_in_a_schema_stay_text(smol: LlamaModel) -> None:
    form = JsonFormat({"const": "<|im_end|>"})
    dialect = TemplateDialect(ROLES, smol.vocab, JsonGrammars(smol.vocab))
    tokens = dialect.render(Conversation((Message("user", "x"),), json_format=form))
    assert not smol.vocab.control_ids & set(tokens)
