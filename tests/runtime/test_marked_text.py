"""Prompts are tokenized by pieces, with the tokens that the whole text has."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from gguf import TokenType
from hypothesis import given
from hypothesis import strategies as st

from ossctl.runtime import marked_text
from ossctl.runtime.marked_text import MarkedText
from ossctl.runtime.model import LlamaModel
from tests.support.models import Vocabulary, byte_vocabulary, write_gpt_oss

START, END = "<|im_start|>", "<|im_end|>"
PIECES = [
    START,
    END,
    "<|endoftext|>",
    "<|im_",
    "start|>",
    "<|",
    "|>",
    "\n",
    " ",
    "user",
    "Hello",
    "é日",
    "\n\n ",
    "a",
]


def whole(model: LlamaModel) -> Callable[[str], list[int]]:
    """llama.cpp's tokens of a text, in one call."""
    return lambda text: model.vocab._tokenize(text.encode(), special=True)


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_the_tokens_are_those_of_the_whole_text(smol: LlamaModel, text: str) -> None:
    assert model_tokens(smol, text) == whole(smol)(text)
    assert model_tokens(smol, text) == whole(smol)(text), "the second time"


def model_tokens(model: LlamaModel, text: str) -> list[int]:
    return model.vocab.tokenize(text, special=True)


@pytest.mark.parametrize(
    "markers", [["ab<", "<cd", "<c"], ["<a", "<a>", "a>b"], ["aba"], [" <x>", "<x>", "x>"]]
)
def test_overlapping_markers_are_left_to_llama_cpp(tmp_path: Path, markers: list[str]) -> None:
    plain = byte_vocabulary()
    types = [*plain.types, *[TokenType.CONTROL] * len(markers)]
    path = write_gpt_oss(tmp_path / "overlap.gguf", Vocabulary([*plain.tokens, *markers], types, []))
    letters = st.lists(st.sampled_from([*markers, *"ab<>cd x"]), max_size=12).map("".join)

    with LlamaModel(path) as model:

        @given(letters)
        def check(text: str) -> None:
            assert model_tokens(model, text) == whole(model)(text)

        check()


class Spelling:
    """Tokenizes by letters and notes what it was given."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def __call__(self, text: str) -> list[int]:
        self.given.append(text)
        return list(map(ord, text))


def test_only_what_is_new_is_tokenized() -> None:
    spelling = Spelling()
    marked = MarkedText(spelling, ["<s>", "<e>"])
    turns = "".join(f"<s>turn {n}<e>" for n in range(100))
    for text in (turns, f"{turns}<s>What", f"{turns}<s>What else"):
        spelling.given.clear()
        assert marked.tokenize(text) == list(map(ord, text))
    assert spelling.given == ["<s>What else"]


def test_a_marker_that_strips_whitespace_before_it_is_not_cut_off() -> None:
    spelling = Spelling()
    MarkedText(spelling, ["<s>", "<mask>"], stripping=["<mask>"]).tokenize("a <mask> b <s>c")
    assert spelling.given == ["a <mask> b ", "<s>c"]


def test_what_is_remembered_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marked_text, "_MAX_CHARACTERS", 200)
    spelling = Spelling()
    marked = MarkedText(spelling, ["<s>"])
    texts = [f"<s>{number:030}<s>same" for number in range(50)]
    for text in texts:
        assert marked.tokenize(text) == list(map(ord, text))
    assert spelling.given.count("<s>same") == 1, "it was in every text"
    spelling.given.clear()
    for text in texts[-2:] + texts[:2]:
        assert marked.tokenize(text) == list(map(ord, text))
    assert spelling.given == [text.removesuffix("<s>same") for text in texts[:2]]


def test_a_chat_longer_than_the_limit_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marked_text, "_MAX_CHARACTERS", 200)
    spelling = Spelling()
    marked = MarkedText(spelling, ["<s>"])
    text = ""
    for number in range(50):
        text += f"<s>{number:030}"
        assert marked.tokenize(text) == list(map(ord, text))
    assert len(spelling.given) == 50


def test_a_new_text_costs_the_same_however_much_is_remembered() -> None:
    """Measured in bytes allocated: a copy of what is remembered would be some 50,000."""
    marked = MarkedText(Spelling(), ["<s>"])
    tracemalloc.start()
    try:
        most = 0
        for number in range(1_000):
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            marked.tokenize(f"<s>{number:030}")
            _, peak = tracemalloc.get_traced_memory()
            most = peak - before
    finally:
        tracemalloc.stop()
    assert most < 10_000
