"""What is a token and what falls into letters, here as in llama.cpp."""

import pytest

from tools.nano.tokenizer import NanoTokenizer
from tools.nano.vocabulary import vocabulary
from tools.nano.words import COPIED, SPELT


@pytest.fixture(scope="module")
def tokenizer() -> NanoTokenizer:
    return vocabulary()


def pieces(tokenizer: NanoTokenizer, text: str) -> list[str]:
    return [tokenizer.piece(token).decode() for token in tokenizer.tokenize(text)]


def test_what_is_copied_is_the_same_token_after_a_blank_and_in_quotes(tokenizer: NanoTokenizer) -> None:
    for word in COPIED:
        assert pieces(tokenizer, f'{word} {word} "{word}"') == [word, " ", word, ' "', word, '"']


def test_common_words_are_tokens(tokenizer: NanoTokenizer) -> None:
    text = "What is the capital of France? The weather in my city"
    assert len(tokenizer.tokenize(text)) == len(text.split()) + 1


def test_other_words_and_numbers_fall_into_characters(tokenizer: NanoTokenizer) -> None:
    whole = [word for word in SPELT if len(pieces(tokenizer, word)) < len(word)]
    assert len(whole) < 0.1 * len(SPELT), whole
    for text in ("brimky", "LEMON", "2048", "Zo\u00eb"):
        assert len(tokenizer.tokenize(text)) == len(text.encode())
        assert tokenizer.decode(tokenizer.tokenize(text)) == text
