"""What prompts share whatever the user writes next: the part of a prompt that can be prefilled ahead."""

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ossctl.app.inference.raw_dialect import RawDialect
from ossctl.dialect import Conversation, Dialect, Message
from ossctl.engine.grammar import JsonGrammars
from ossctl.harmony.dialect import HarmonyDialect
from ossctl.runtime.model import LlamaModel
from ossctl.templates.dialect import TemplateDialect
from tests.support.harmony_reference import conversations, texts

INSTRUCTION = (
    "{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }}{{ eos_token }}"
    "{% else %}[INST] {{ m.content | trim }} [/INST]{% endif %}{% endfor %}"
)
NUMBERED = "{% for m in messages %}{{ loop.index }}/{{ messages | length }}: {{ m.content }}\n{% endfor %}"

turns = st.lists(st.tuples(texts, texts), max_size=3)
words = st.text(st.characters(categories=["Lu", "Ll", "Lo"], exclude_characters="\ufdd0"), min_size=1)
started = texts.filter(lambda text: text and not text[0].isspace())
drafts = st.builds("{}{}".format, texts, st.sampled_from([" ", "\n", "  ", ".\n\n", "\t"]))


def asked(conversation: Conversation, text: str) -> Conversation:
    return replace(conversation, messages=(*conversation.messages, Message("user", text)))


def conversation_of(turns: list[tuple[str, str]]) -> Conversation:
    pairs = ((Message("user", question), Message("assistant", answer)) for question, answer in turns)
    return Conversation(tuple(message for pair in pairs for message in pair))


def shared(dialect: Dialect, conversation: Conversation, draft: str = "") -> list[int]:
    """What two renderings with different messages have in common."""
    one, other = (dialect.render(asked(conversation, f"{draft}{end}")) for end in "ab")
    length = next((at for at, pair in enumerate(zip(one, other, strict=False)) if len(set(pair)) > 1), None)
    return one[:length]


def assert_shared(dialect: Dialect, conversation: Conversation, text: str, draft: str = "") -> None:
    prefix = dialect.render_prefix(conversation, draft)
    assert len(prefix) >= len(shared(dialect, conversation, draft))
    assert dialect.render(asked(conversation, f"{draft}{text}"))[: len(prefix)] == prefix


@pytest.fixture(scope="module", params=["own", "instruction", "numbered"])
def template(request: pytest.FixtureRequest, smol: LlamaModel) -> TemplateDialect:
    text = {"own": smol.chat_template or "", "instruction": INSTRUCTION, "numbered": NUMBERED}[request.param]
    return TemplateDialect(text, smol.vocab, JsonGrammars(smol.vocab))


@given(conversations(native=True), texts)
@example(Conversation(()), "Hello")
@example(Conversation((Message("system", "Be brief."),)), "\n\n  Hello")
def test_a_harmony_prefix_holds_for_any_next_message(
    harmony: HarmonyDialect, conversation: Conversation, text: str
) -> None:
    assert_shared(harmony, conversation, text)


@given(turns, started)
@example([], "Hello")
def test_a_templates_prefix_holds_for_any_next_message(
    template: TemplateDialect, turns: list[tuple[str, str]], text: str
) -> None:
    assert_shared(template, conversation_of(turns), text)


@given(turns, texts)
def test_a_raw_prefix_holds_where_no_tokens_merge(
    gpt_oss: LlamaModel, turns: list[tuple[str, str]], text: str
) -> None:
    assert_shared(RawDialect(gpt_oss.vocab), conversation_of(turns), text)


@given(conversations(), drafts, words)
def test_with_a_draft_a_harmony_prefix_holds_for_any_next_word(
    harmony: HarmonyDialect, conversation: Conversation, draft: str, word: str
) -> None:
    assert_shared(harmony, conversation, word, draft)


@given(turns, drafts, words)
def test_with_a_draft_a_templates_prefix_holds_for_any_next_word(
    template: TemplateDialect, turns: list[tuple[str, str]], draft: str, word: str
) -> None:
    assert_shared(template, conversation_of(turns), word, draft)


def test_a_draft_is_in_the_prefix_but_for_the_token_that_the_next_word_may_extend(
    harmony: HarmonyDialect, smol: LlamaModel
) -> None:
    template = TemplateDialect(smol.chat_template or "", smol.vocab, JsonGrammars(smol.vocab))
    for dialect, vocab in ((harmony, harmony._tokenizer), (template, smol.vocab)):
        prefix = dialect.render_prefix(Conversation(()), "Tell me more ")
        assert b"".join(map(vocab.piece, prefix)).endswith(b"Tell me more")
