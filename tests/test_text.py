"""Text for terminals and people."""

import io

import pytest

from ossctl.text import can_encode, duration, harmless, one_line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0304, "30 ms"),
        (0.1, "0.1 s"),
        (9.94, "9.9 s"),
        (12.4, "12 s"),
        (60, "1 min"),
        (200.2, "3 min 20 s"),
        (599.7, "10 min"),
        (700, "12 min"),
        (5400, "1 h 30 min"),
        (7200, "2 h"),
        (36_300, "10 h 5 min"),
    ],
)
def test_durations_have_the_digits_that_matter(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_control_characters_are_replaced_and_newlines_and_tabs_are_kept() -> None:
    assert harmless("a\tb\n\x1b[31mred\x07\r\x7f\x9b2J") == "a\tb\n�[31mred����2J"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\r\n\r\nb\r\n", "a\n\nb\n"), ("a\r", "a"), ("a\x0cb\x0bc", "a\nb\nc"), ("a\rb", "a\ufffdb")],
)
def test_ends_of_lines_and_form_feeds_are_newlines(text: str, shown: str) -> None:
    assert harmless(text) == shown


@pytest.mark.parametrize(("encoding", "can"), [("utf-8", True), ("cp437", True), ("latin-1", False)])
def test_symbols_are_used_where_the_encoding_has_them(encoding: str, can: bool) -> None:
    assert can_encode(io.TextIOWrapper(io.BytesIO(), encoding), "█▓▒░·") is can


def test_no_stream_encodes_nothing_but_ascii() -> None:
    assert can_encode(None, "ok")
    assert not can_encode(None, "✓")


def test_a_call_is_shown_on_one_line_of_500_characters() -> None:
    assert one_line(' {\n  "a":\t1\n}\n') == '{ "a": 1 }'
    assert one_line("x" * 500) == "x" * 500
    assert one_line("x" * 501) == f"{'x' * 500}…"
