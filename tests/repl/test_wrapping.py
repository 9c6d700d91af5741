"""Lines that are broken for a terminal."""

import pytest

from ossctl.repl.wrapping import wrapped


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("short enough", "short enough"),
        ("one two three four five six", "one two three four\nfive six"),
        ("key       what it does and why", "key       what it\n          does and\n          why"),
        ("a very long key    what it does", "a very long key\n  what it does"),
        ("  indented text that is long", "  indented text that\n  is long"),
        ("日本語の長い文章 はここ", "日本語の長い文章\nはここ"),
        ("averyverylongwordwithoutblanks and", "averyverylongwordwithoutblanks\nand"),
        ("first\n\nlast", "first\n\nlast"),
    ],
)
def test_lines_are_broken_between_words_and_columns_stay(line: str, shown: str) -> None:
    assert wrapped(line, 20) == shown
