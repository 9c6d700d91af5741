"""Stop strings in text that comes in arbitrary pieces; few letters, so that prefixes overlap."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossctl.engine.stop import StopStrings
from ossctl.text import undecided

LETTERS = "ab"
PIECES = st.lists(st.text(LETTERS, max_size=5), max_size=12)
STOPS = st.lists(st.text(LETTERS, min_size=1, max_size=5), min_size=1, max_size=4)


def before_stop(text: str, stops: Sequence[str]) -> str:
    """`text` up to the stop string that ends first; of those, the one that starts first."""
    found = [(text.index(stop) + len(stop), text.index(stop)) for stop in stops if stop in text]
    return text[: min(found)[1]] if found else text


def longest_prefix(text: str, markers: Sequence[str]) -> int:
    prefixes = [marker[:length] for marker in markers for length in range(len(marker))]
    return max((len(prefix) for prefix in prefixes if text.endswith(prefix)), default=0)


@given(PIECES, STOPS)
def test_the_text_ends_before_the_first_stop_string_wherever_pieces_end(
    pieces: list[str], stops: list[str]
) -> None:
    text, stop_strings = "".join(pieces), StopStrings(stops)
    released = "".join(map(stop_strings.feed, pieces)) + stop_strings.close()
    assert released == before_stop(text, stops)
    assert stop_strings.hit == any(stop in text for stop in stops)


@given(PIECES, STOPS)
def test_exactly_what_may_be_the_start_of_a_stop_string_is_held_back(
    pieces: list[str], stops: list[str]
) -> None:
    stop_strings, text, released = StopStrings(stops), "", ""
    for piece in pieces:
        text += piece
        released += stop_strings.feed(piece)
        if stop_strings.hit:
            break
        assert released == text[: len(text) - longest_prefix(text, stops)]
    else:
        assert released + stop_strings.close() == text


@given(st.text(LETTERS, max_size=10), STOPS)
def test_undecided_is_the_longest_unfinished_prefix(text: str, markers: list[str]) -> None:
    assert undecided(text, markers) == longest_prefix(text, markers)


@pytest.mark.parametrize(
    ("stops", "pieces", "released"),
    [
        (["\n\n"], ["one\n", "two\n", "\nthree"], ["one", "\ntwo", ""]),
        (["aab"], ["a", "a", "a", "b"], ["", "", "a", ""]),
        (["END"], ["E", "", "N", "D", "more"], ["", "", "", "", ""]),
        (["b", "c"], ["abc"], ["a"]),
        (["ab", "abc"], ["xabc"], ["x"]),
        (["日本"], ["日", "本語"], ["", ""]),
    ],
)
def test_what_is_certain_is_released_at_once(
    stops: list[str], pieces: list[str], released: list[str]
) -> None:
    stop_strings = StopStrings(stops)
    assert [stop_strings.feed(piece) for piece in pieces] == released
    assert stop_strings.hit
    assert stop_strings.close() == ""


def test_without_stop_strings_all_text_passes_at_once() -> None:
    stop_strings = StopStrings([])
    assert [stop_strings.feed(piece) for piece in ("a", "", "b")] == ["a", "", "b"]
    assert not stop_strings.hit
    assert stop_strings.close() == ""
