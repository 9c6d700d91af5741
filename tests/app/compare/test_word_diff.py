"""Word diffs: both texts can be read from one, and chance matches do not cut sentences."""

import random
import time

from ossctl.app.compare.word_diff import Piece, plain_diff, word_diff


def read(pieces: list[Piece], *kinds: str) -> str:
    return "".join(piece.text for piece in pieces if piece.kind in kinds)


def test_both_texts_can_be_read_from_the_diff() -> None:
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    words = ["sun", "moon", " ", " ", "\n", ".", "naïve", "the", "-", "月"]
    for _ in range(200):
        first, second = ("".join(chance.choices(words, k=chance.randrange(30))) for _ in range(2))
        pieces = word_diff(first, second)
        assert read(pieces, "same", "removed") == first, seed
        assert read(pieces, "same", "added") == second, seed
        assert all(piece.text for piece in pieces)


def test_changed_words_are_marked_as_git_does() -> None:
    pieces = word_diff("The capital is Oslo, a city.", "The capital is Bergen, a town in Norway.")
    assert plain_diff(pieces) == "The capital is [-Oslo-]{+Bergen+}, a [-city-]{+town in Norway+}."


def test_a_sentence_with_a_word_in_common_by_chance_stays_whole() -> None:
    pieces = word_diff("47 + 38 = 85.", "To add 47 and 38, we need to carry one, which gives us 104")
    assert [piece.kind for piece in pieces] == ["removed", "added"]


def test_the_same_answer_has_no_changes() -> None:
    assert word_diff("Oslo.", "Oslo.") == [Piece("same", "Oslo.")]
    assert word_diff("", "") == []


def test_long_answers_that_repeat_themselves_take_no_time() -> None:
    started = time.monotonic()
    word_diff("I am sorry. " * 2_000, "I am afraid. I am sorry. " * 1_500)
    assert time.monotonic() - started < 2
