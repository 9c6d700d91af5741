"""Prompts from words, stdin and files; input that is not text; code blocks."""

import io
from pathlib import Path

import pytest

from ossctl.app.user_text import (
    Attached,
    decoded,
    first_code_block,
    prompt_of,
    read_piped,
    read_text,
    text_of,
)
from ossctl.errors import UsageError


def test_words_are_joined() -> None:
    assert prompt_of(["Say", "hi", "twice"], None) == "Say hi twice"


@pytest.mark.parametrize(
    ("given", "expected"),
    [("caf\udce9", "caf\ufffd"), ("\ud83d\ude00", "\U0001f600"), ("\ud83d!", "\ufffd!")],
)
def test_a_command_line_that_is_not_utf8_becomes_text(given: str, expected: str) -> None:
    assert text_of(given) == prompt_of([given], None) == expected
    assert expected in prompt_of([], None, [Attached(given, "the name of a file")])


def test_a_piped_text_alone_is_the_prompt() -> None:
    assert prompt_of([], "What is\na pear?\n") == "What is\na pear?\n"


def test_a_piped_text_comes_after_the_prompt_in_a_fence() -> None:
    assert prompt_of(["Summarise this"], "one\ntwo\n") == "Summarise this\n\n```\none\ntwo\n```"


def test_a_fence_is_longer_than_any_in_the_text() -> None:
    assert prompt_of(["Explain"], "a\n````\nb\n````\n") == "Explain\n\n`````\na\n````\nb\n````\n`````"


def test_files_come_with_their_names_and_before_piped_text() -> None:
    files = [Attached("a.txt", "one\n"), Attached("b.txt", "two")]
    expected = "Compare\n\na.txt:\n```\none\n```\n\nb.txt:\n```\ntwo\n```\n\n```\nthree\n```"
    assert prompt_of(["Compare"], "three\n", files) == expected


def test_long_texts_come_before_the_question_so_that_another_one_has_the_same_prefix() -> None:
    files = [Attached("a.txt", "one. " * 300), Attached("b.txt", "two. " * 300)]
    first, second = prompt_of(["Compare"], None, files), prompt_of(["Summarise", "both"], None, files)
    assert first.endswith("```\n\nCompare")
    assert first.removesuffix("Compare") == second.removesuffix("Summarise both")


def test_a_file_alone_keeps_its_name() -> None:
    assert prompt_of([], None, [Attached("todo", "Buy pears.")]) == "todo:\n```\nBuy pears.\n```"


@pytest.mark.parametrize("piped", [None, "", " \n"])
def test_a_missing_prompt_is_an_error_with_a_hint(piped: str | None) -> None:
    with pytest.raises(UsageError, match="there is no prompt") as caught:
        prompt_of([" "], piped)
    assert "ossctl run" in caught.value.hint


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"caf\xe9", "cannot read x: it is not UTF-8 text, byte 0xe9 at offset 3"),
        (b"ab\0c", "cannot read x: it is binary, with a zero byte at offset 2"),
    ],
)
def test_bytes_that_are_not_text_are_refused_with_their_offset(data: bytes, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        decoded(data, "x")
    assert caught.value.message == message


def test_a_byte_order_mark_is_not_a_part_of_the_text() -> None:
    assert decoded(b"\xef\xbb\xbfhi", "x") == "hi"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*missing\.txt"):
        read_text(tmp_path / "missing.txt")
    with pytest.raises(UsageError, match="cannot read"):
        read_text(tmp_path)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("Here:\n```python\nprint(1)\n```\nand\n```\nno\n```", "print(1)\n"),
        ("```\n```", ""),
        ("````md\n```\ninner\n```\n````\n", "```\ninner\n```\n"),
        ("1. so:\n   ```sh\n   ls\n   ```", "   ls\n"),
        ("no block", None),
        ("```\ncut off", "cut off"),
        ("~~~~md\n~~~\n```\n~~~~~\nno", "~~~\n```\n"),
        ("~~~ a`b\nx\n~~~", "x\n"),
        ("```a``` b\n```\nx\n```", "x\n"),
        ("```\r\nx\r\n```\r\nno", "x\r\n"),
        ("```python", None),
        ("inline ```code``` only", None),
    ],
)
def test_the_first_code_block(answer: str, code: str | None) -> None:
    assert first_code_block(answer) == code


def test_what_is_longer_than_any_context_is_refused_after_so_many_bytes(tmp_path: Path) -> None:
    with (tmp_path / "long.txt").open("wb") as file:
        file.truncate(2**40)  # a hole: to read it all would take minutes and all memory
    with pytest.raises(UsageError, match=r"cannot read .*long\.txt: it has more than 16 MiB") as caught:
        read_text(tmp_path / "long.txt", is_prompt=True)
    assert "ossctl batch" in caught.value.hint
    with pytest.raises(UsageError, match=r"it has more than 16 MiB$") as caught:  # a template, a grammar
        read_text(tmp_path / "long.txt")
    assert not caught.value.hint


def test_endless_standard_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            buffer[:] = b"y" * len(buffer)
            return len(buffer)

    stream = io.BufferedReader(Endless())  # type: ignore[type-var]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stream))
    with pytest.raises(UsageError, match="cannot read standard input: it has more than 16 MiB"):
        read_piped()
