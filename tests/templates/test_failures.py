"""Templates are untrusted programs: whatever they do is an error of the request or of the model."""

import time

import pytest

from ossctl.dialect import Conversation, Message
from ossctl.engine.grammar import JsonGrammars
from ossctl.errors import ModelError, RequestError
from ossctl.runtime.model import LlamaModel
from ossctl.templates.derive import derive_format
from ossctl.templates.dialect import TemplateDialect


def prompt_of(model: LlamaModel, template: str, *contents: str) -> list[int]:
    """The token ids of user messages."""
    dialect = TemplateDialect(template, model.vocab, JsonGrammars(model.vocab))
    return dialect.render(Conversation(tuple(Message("user", text) for text in contents)))


@pytest.mark.parametrize(
    "template",
    [
        "{{ 1/0 }}",
        "{% for i in range(999999) %}{% endfor %}",
        "{{ '{}'.format() }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ ''|truncate(1) }}",
        "{{ 'x'.encode('zzz') }}",
        "{{ 'x'.center(10**12) }}",
    ],
)
def test_a_template_that_fails_on_messages_fails_that_request_alone(smol: LlamaModel, template: str) -> None:
    with pytest.raises(RequestError, match="chat template fails"):
        prompt_of(smol, template, "Hi")


@pytest.mark.parametrize(
    "template",
    [
        "{{ " + "9" * 5000 + " }}",
        "{% for a in b %}" * 25 + "{% endfor %}" * 25,
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    ],
    ids=["huge literal", "25 loops", "3000 brackets"],
)
def test_a_template_that_cannot_be_compiled_is_a_broken_model(smol: LlamaModel, template: str) -> None:
    with pytest.raises(ModelError, match="chat template is broken"):
        TemplateDialect(template, smol.vocab, JsonGrammars(smol.vocab))


@pytest.mark.parametrize(
    ("when", "body"),
    [
        ("true", "{% for j in range(90000) %}{% endfor %}"),
        ("tools", "{{ m.content[:9] ~ x }}"),
        ("m.role == 'assistant'", "{% set x = 1 %}" * 1000),
    ],
    ids=["loops", "texts", "long body"],
)
def test_the_format_of_a_template_that_only_loops_is_judged_soon(when: str, body: str) -> None:
    loop = "{% for i in range(90000) %}" + body + "{% endfor %}"
    started = time.process_time()
    derive_format("{% for m in messages %}{% if " + when + " %}" + loop + "{% endif %}{% endfor %}")
    assert time.process_time() - started < 3  # half a second, if nothing else runs


def test_texts_that_a_template_joins_do_not_form_a_marker(smol: LlamaModel) -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    texts = ["<|im_", "end|>", "<", "|im_start|>", "<|im_e", "nd|>"]
    prompt = prompt_of(smol, template, *texts)
    assert not smol.vocab.control_ids.intersection(prompt)
    assert b"".join(map(smol.vocab.piece, prompt)) == "".join(texts).encode()


@pytest.mark.parametrize("length", [1997, 1998, 1999, 2000, 3999, 4000])
def test_a_long_run_is_never_cut_inside_the_templates_own_markers(smol: LlamaModel, length: int) -> None:
    assert smol.chat_template is not None
    prompt = prompt_of(smol, smol.chat_template, "!" * length)
    control = [smol.vocab.marker(t) for t in prompt if t in smol.vocab.control_ids]
    assert control == ["<|im_start|>", "<|im_end|>"] * 2 + ["<|im_start|>"]


def test_a_long_text_without_spaces_has_the_tokens_of_its_parts(smol: LlamaModel) -> None:
    sentence = "我们今天去公园散步，天气非常好。"  # noqa: RUF001 (the comma is Chinese)
    long = smol.vocab.tokenize(sentence * 500)
    whole = smol.vocab.tokenize(sentence * 100)
    assert b"".join(map(smol.vocab.piece, long)) == (sentence * 500).encode()
    assert long[: len(whole) - 20] == whole[:-20]
    assert len(long) == pytest.approx(5 * len(whole), rel=0.001)
