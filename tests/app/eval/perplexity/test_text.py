"""A text is tokenized in pieces, with the tokens of the whole, and refused if it is not one."""

import io
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ossctl.app.eval.perplexity import text as text_module
from ossctl.app.eval.perplexity.text import Text, TokenChunks, opened_text
from ossctl.errors import UsageError
from ossctl.runtime.model import LlamaModel

PROSE = (
    "It was a bright cold day in April, and the clocks were striking thirteen.\n\n“Why?” — she asked…\n"
    "def f(x):\n    return x  # note\n\n\tÉcole, Все люди рождаются 今天天气很好。\r\n"
    " 12 345 3 4 -- (a) b/c\n"
)


class Letters:
    """A token a byte, and a space before every text, as sentencepiece has it."""

    begin_id = 256

    def piece(self, token: int) -> bytes:
        return bytes([token])

    def tokenize(self, text: str) -> Sequence[int]:
        return [*f" {text}".encode()]


def text_of(data: bytes | str) -> Text:
    return Text(io.BytesIO(data.encode() if isinstance(data, str) else data), "a.txt")


def test_a_text_in_pieces_has_the_tokens_of_the_whole(
    smol: LlamaModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = PROSE * 40
    expected = smol.vocab.tokenize(whole.removesuffix("\n"))
    for size in (97, 256, 1_000):
        monkeypatch.setattr(text_module, "_PIECE", size)
        found = np.concatenate([*TokenChunks(text_of(whole), smol.vocab, 16)])
        if smol.vocab.begin_id is not None:
            pytest.skip("the vocabulary has a BOS token")
        assert found.tolist() == expected[: len(found)]
        assert len(expected) - len(found) < 16


def test_a_space_that_starts_every_text_is_not_added_between_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "_PIECE", 64)
    whole = "several words\nand a line " * 20
    chunks = [*TokenChunks(text_of(whole), Letters(), 16)]
    found = np.concatenate(chunks)
    expected = [256, *f" {whole}".encode()]
    assert all(chunk[0] == 256 for chunk in chunks)
    differing = np.flatnonzero(found != expected[: len(found)])
    assert (differing % 16 == 0).all()


def test_bos_replaces_the_first_token_of_each_chunk_and_the_rest_is_left_out() -> None:
    first, second = TokenChunks(text_of("a" * 40), Letters(), 16)
    assert first.tolist() == [256, 32, *[97] * 14]
    assert second.tolist() == [256, *[97] * 15]


def test_chunks_can_be_limited_and_are_counted_before() -> None:
    chunks = TokenChunks(text_of("a" * 158 + "\n"), Letters(), 16)
    assert chunks.expected == 10
    limited = TokenChunks(text_of("a" * 158), Letters(), 16, limit=3)
    assert limited.expected == 3
    assert len([*limited]) == 3


def test_a_text_needs_two_chunks_as_for_llama_perplexity() -> None:
    assert len([*TokenChunks(text_of("a" * 30), Letters(), 16)]) == 2
    with pytest.raises(
        UsageError, match=r"a.txt has 31 tokens, but a context of 16 needs at least 32"
    ) as error:
        TokenChunks(text_of("a" * 29), Letters(), 16)
    assert error.value.hint == "Use a longer text, or a smaller --ctx."


@pytest.mark.parametrize(("size", "at"), [(1 << 20, 5), (4, 5), (3, 5)])
def test_what_is_not_utf_8_is_refused_with_its_place(
    monkeypatch: pytest.MonkeyPatch, size: int, at: int
) -> None:
    monkeypatch.setattr(text_module, "_PIECE", size)
    with pytest.raises(UsageError, match=rf"a.txt: it is not UTF-8 text, byte 0xe4 at offset {at}"):
        text_of("äbc ".encode() + b"\xe4" + b"rger")
    with pytest.raises(UsageError, match=rf"byte 0xe2 at offset {at}"):
        text_of("äbc ".encode() + b"\xe2\x82")
    with pytest.raises(UsageError, match=rf"it is binary, with a zero byte at offset {at}"):
        text_of("äbc ".encode() + b"\0rger")


def test_an_empty_text_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is empty"):
        text_of(b"")
    for path, reason in ((tmp_path / "none.txt", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError, match=reason), opened_text(path):
            pass


def test_a_byte_order_mark_is_no_text() -> None:
    assert "".join(text_of("\ufeffabc\ufeff").pieces()) == "abc\ufeff"


def test_stdin_can_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"some text")))
    with opened_text(Path("-")) as text:
        assert [*text.pieces()] == [*text.pieces()] == ["some text"]


def test_a_large_text_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "_PIECE", 1 << 14)
    path = tmp_path / "large.txt"
    path.write_text("word " * 200_000)
    tracemalloc.start()
    try:
        with opened_text(path) as text:
            assert sum(map(len, TokenChunks(text, Letters(), 512))) > 990_000
        assert tracemalloc.get_traced_memory()[1] < 1 << 21
    finally:
        tracemalloc.stop()
