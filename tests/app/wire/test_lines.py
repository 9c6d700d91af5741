"""Any bytes are read as lines, in bounded memory."""

import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ossctl.app.wire import lines
from ossctl.app.wire.lines import Line, read_lines

LIMIT = 16  # bytes, instead of megabytes


def numbered(data: bytes) -> list[tuple[int, bytes]]:
    """(number, data) of the lines that can be used."""
    return [(line.number, line.data) for line in read_lines(io.BytesIO(data)) if line.error is None]


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", LIMIT)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", []),
        (b"\n\n \t\r\n", []),
        (b"a\nb\n", [(1, b"a"), (2, b"b")]),
        (b"a\nb", [(1, b"a"), (2, b"b")]),
        (b"a\r\n\r\nb\r\n", [(1, b"a"), (3, b"b")]),
        (b"\n\n  a  \n\nb", [(3, b"a"), (5, b"b")]),
        (b"\xef\xbb\xbfa\nb", [(1, b"a"), (2, b"b")]),
        (b"\xef\xbb\xbf\r\na", [(2, b"a")]),
        (b"a\n\xef\xbb\xbfb", [(1, b"a"), (2, b"\xef\xbb\xbfb")]),  # a mark only at the start
        (b"a\x00b\n\x00\nc", [(1, b"a\x00b"), (2, b"\x00"), (3, b"c")]),
        (b"a\rb\n", [(1, b"a\rb")]),
        (b'{"prompt": "\xe2\x80\xa8"}\n', [(1, b'{"prompt": "\xe2\x80\xa8"}')]),  # JSON may hold U+2028
    ],
)
def test_lines_are_numbered_as_in_an_editor_and_blank_ones_left_out(
    data: bytes, found: list[tuple[int, bytes]]
) -> None:
    assert numbered(data) == found


@pytest.mark.parametrize("length", [LIMIT + 1, LIMIT + 2, 2 * LIMIT, 10 * LIMIT])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_a_line_that_is_too_long_is_skipped_with_its_number(
    short_limit: None, length: int, ending: bytes
) -> None:
    data = b"before" + ending + b"x" * length + ending + b"after" + ending
    before, skipped, after = read_lines(io.BytesIO(data))
    assert (before, after) == (Line(1, b"before"), Line(3, b"after"))
    assert (skipped.number, skipped.data) == (2, b"")
    assert skipped.error is not None
    assert f"more than the limit of {LIMIT} for a line" in skipped.error.message


@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_a_line_of_exactly_the_limit_is_read(short_limit: None, ending: bytes) -> None:
    assert numbered(b"x" * LIMIT + ending) == [(1, b"x" * LIMIT)]


def test_the_last_line_may_be_too_long_as_well(short_limit: None) -> None:
    (line,) = read_lines(io.BytesIO(b"x" * (LIMIT + 1)))
    assert line.number == 1
    assert line.error is not None


def test_the_real_limit_is_16_mib() -> None:
    limit = 16 * 1024 * 1024
    data = b"x" * limit + b"\n" + b"x" * (limit + 1) + b"\n{}"
    sizes = [(line.number, len(line.data), line.error is None) for line in read_lines(io.BytesIO(data))]
    assert sizes == [(1, limit, True), (2, 0, False), (3, 2, True)]


@given(st.lists(st.binary(max_size=2 * LIMIT) | st.sampled_from([b"\n", b"\r\n", b"x"])).map(b"".join))
@example(b"x" * 40 + b"\n" * 3 + b"y" * 17 + b"\n" + b"z" * 16)
def test_any_bytes_are_split_at_newlines_and_nothing_is_lost(data: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "MAX_LINE_BYTES", LIMIT)
        found = {line.number: line for line in read_lines(io.BytesIO(data))}
    for number, raw in enumerate(data.split(b"\n"), 1):
        text = (raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw).strip()
        line = found.pop(number, Line(number, b""))
        assert line.data == (b"" if len(raw) > LIMIT else text)
        assert (line.error is not None) == (len(raw) > LIMIT)
    assert not found


def test_an_endless_line_is_not_held_in_memory(short_limit: None, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    with path.open("wb") as file:
        file.truncate(100 * 1024 * 1024)  # zeros, which take no room on the disk
    tracemalloc.start()
    try:
        with path.open("rb") as file:
            (line,) = read_lines(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert line.error is not None
    assert f"{100 * 1024 * 1024:,} bytes" in line.error.message
    assert peak < 10 * 1024 * 1024


def test_the_length_of_a_long_line_excludes_the_line_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 16)
    (line,) = read_lines(io.BytesIO(b"x" * 20 + b"\r\n"))
    assert line.error is not None
    assert line.error.message.startswith("20 bytes")
