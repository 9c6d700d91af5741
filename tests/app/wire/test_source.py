"""The input of a batch in all its formats."""

import bz2
import errno
import gzip
import lzma
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossctl.app.wire import lines as lines_module
from ossctl.app.wire import source as source_module
from ossctl.app.wire.chat_completions import custom_id_of
from ossctl.app.wire.lines import Line
from ossctl.app.wire.shard import Shard
from ossctl.app.wire.sizes import Sizes
from ossctl.app.wire.source import Format, Source, Survey, format_of, id_hash
from ossctl.errors import UsageError


def surveyed(path: Path, **options: int) -> Survey:
    return Source(path, **options).survey(custom_id_of)  # type: ignore[arg-type]


def table(path: Path, text: str | bytes, kind: Format = Format.CSV) -> list[Line]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(Source(path, kind).lines())


def test_requests_are_counted_without_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\xef\xbb\xbf{}\n\n{}\r\n   \nnot JSON, but a line")
    assert surveyed(path).count == 3


@pytest.mark.parametrize("kind", Format)
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (gzip.compress(b'{"prompt": "x"}\n'), "is compressed by gzip"),
        (b"\x28\xb5\x2f\xfd\x24\x00\x01\x00", "is compressed by Zstandard"),
        (bz2.compress(b'{"prompt": "x"}\n'), "is compressed by bzip2"),
        (lzma.compress(b'{"prompt": "x"}\n'), "is compressed by xz"),
        ('{"prompt": "x"}\n'.encode("utf-16"), "is in UTF-16"),
    ],
    ids=["gzip", "Zstandard", "bzip2", "xz", "UTF-16"],  # gzip's bytes hold the time
)
def test_an_input_that_is_no_text_is_refused_once(
    tmp_path: Path, kind: Format, data: bytes, says: str
) -> None:
    path = tmp_path / "in"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=says):
        Source(path, kind).survey(custom_id_of)


def test_a_text_may_begin_with_the_letters_of_a_compressed_file(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("BZh is how bzip2 begins\n")
    assert [line.fields for line in Source(path, Format.TEXT).lines()] == [
        {"text": "BZh is how bzip2 begins"}
    ]


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        (Format.JSONL, "one JSON object per line"),
        (Format.CSV, "rows below"),
        (Format.TEXT, "one prompt per line"),
    ],
)
def test_an_input_without_requests_says_what_was_expected(tmp_path: Path, kind: Format, hint: str) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"")
    with pytest.raises(UsageError) as refused:
        Source(path, kind).survey(custom_id_of)
    assert hint in (refused.value.hint or "")


@pytest.mark.parametrize("data", [b"", b"\n \r\n", b"\xef\xbb\xbf"])
def test_an_input_without_requests_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="contains no requests"):
        surveyed(path)


def test_an_input_that_is_not_a_file_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no input file at .*missing\.jsonl"):
        surveyed(tmp_path / "missing.jsonl")
    with pytest.raises(UsageError, match="is a directory"):
        surveyed(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot read .*: Not a directory"):
        surveyed(tmp_path / "file" / "below")


def test_a_directory_is_told_where_the_system_only_denies_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(source_module, "open_decoded", denied)
    with pytest.raises(UsageError, match="is a directory"):
        surveyed(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="Permission denied"):
        surveyed(tmp_path / "file")


def test_a_name_that_the_system_refuses_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="cannot read"):
        surveyed(Path("a" * 300))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", Format.JSONL),
        ("a.csv", Format.CSV),
        ("a.TSV", Format.TSV),
        ("a.txt.gz", Format.TEXT),
        ("a.csv.zst", Format.CSV),
        ("a", Format.JSONL),
        ("csv", Format.JSONL),
    ],
)
def test_the_format_follows_from_the_suffix(name: str, kind: Format) -> None:
    assert format_of(Path(name)) is kind


def test_rows_have_the_columns_of_the_header_and_the_number_of_their_first_line(tmp_path: Path) -> None:
    text = '\ufeffid, text \r\n1,plain\r\n\r\n2,"two\nlines, ""quoted"""\r\n3,last'
    assert table(tmp_path / "in.csv", text) == [
        Line(2, fields={"id": "1", "text": "plain"}),
        Line(4, fields={"id": "2", "text": 'two\nlines, "quoted"'}),
        Line(6, fields={"id": "3", "text": "last"}),
    ]


def test_a_table_with_tabs(tmp_path: Path) -> None:
    rows = table(tmp_path / "in.tsv", "a\tb\n1, 2\t3\n", Format.TSV)
    assert [row.fields for row in rows] == [{"a": "1, 2", "b": "3"}]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b"1", "1 columns, but the header has 2"),
        (b"1,2,3", "3 columns, but the header has 2"),
        (b"1,\xff", "not UTF-8"),
        (b'1,"a"b', "expected after"),
        (b'"1,2', "unexpected end of data"),
        (b"1,a\rb", "new-line character"),
    ],
)
def test_an_invalid_row_fails_alone(tmp_path: Path, row: bytes, problem: str) -> None:
    good, bad, *rest = table(tmp_path / "in.csv", b"a,b\n1,2\n" + row + b"\n3,4\n")
    assert (good.fields, bad.number) == ({"a": "1", "b": "2"}, 3)
    assert bad.error is not None
    assert problem in bad.error.message
    assert [line.fields for line in rest] == ([] if row.startswith(b'"') else [{"a": "3", "b": "4"}])


def test_a_row_that_is_too_long_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "MAX_LINE_BYTES", 20)
    monkeypatch.setattr(lines_module, "MAX_LINE_BYTES", 20)
    first, second = table(tmp_path / "in.csv", b"a,b\n1," + b"x" * 100 + b"\n3,4\n")
    assert first.error is not None
    assert first.error.message == "invalid row: 102 bytes, more than the limit of 20 for a line"
    assert second.fields == {"a": "3", "b": "4"}


def test_an_unusable_header_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the header has two columns of the same name"):
        table(tmp_path / "in.csv", "a,a\n1,2\n")
    (tmp_path / "in.csv").write_text("id,text\n1,2\n")
    with pytest.raises(UsageError, match="has no column prompt") as refused:
        list(Source(tmp_path / "in.csv", Format.CSV, "prompt").lines())
    assert "--prompt" in refused.value.hint
    assert "id, text" in refused.value.hint


def test_lines_of_text(tmp_path: Path) -> None:
    rows = table(tmp_path / "in.txt", b"one\r\n\n two \n\xff\n", Format.TEXT)
    assert [(row.number, row.fields) for row in rows] == [
        (1, {"text": "one"}),
        (3, {"text": "two"}),
        (4, None),
    ]


@given(st.binary(max_size=200), st.sampled_from([Format.CSV, Format.TSV, Format.TEXT, Format.JSONL]))
def test_any_bytes_are_lines_or_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, kind: Format
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    try:
        lines = table(path, data, kind)
    except UsageError:
        return
    numbers = [line.number for line in lines]
    assert numbers == sorted(set(numbers))
    assert all(line.error or line.data or line.fields for line in lines)


@pytest.mark.parametrize("cut", [20, -3])
def test_a_truncated_compressed_input_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"prompt": "Hi"}\n' * 1000)[:cut])
    with pytest.raises(UsageError, match=r"cannot read .*in\.jsonl\.gz: the compressed file is truncated"):
        surveyed(path)
    with pytest.raises(UsageError, match="the compressed file is truncated"):
        [*Source(path).shard_lines()]  # for `batch status`


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_an_input_that_is_not_compressed_as_its_name_says_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"in.jsonl.{suffix}"
    path.write_bytes(b'{"prompt": "Hi"}\n')
    with pytest.raises(UsageError, match="cannot read"):
        surveyed(path)


def requests(path: Path, *ids: object) -> Path:
    path.write_text("".join(f'{{"id": {each}, "prompt": "x"}}\n' for each in ids))
    return path


def test_duplicate_ids_are_refused_with_their_line_numbers(tmp_path: Path) -> None:
    path = requests(tmp_path / "in.jsonl", '"a"', 7, '"b"', '"7"')
    with pytest.raises(UsageError, match="lines 2 and 4 have the same id '7'") as refused:
        surveyed(path)
    assert "--assign-ids" in refused.value.hint


def test_ids_whose_hashes_are_equal_are_not_taken_for_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "id_hash", len)
    assert surveyed(requests(tmp_path / "in.jsonl", '"a"', '"b"')).count == 2


def test_a_sample_is_the_same_every_time_and_another_with_another_seed(tmp_path: Path) -> None:
    path = requests(tmp_path / "in.jsonl", *range(100))

    def drawn(seed: int) -> list[str]:
        source = Source(path, sample=10, seed=seed)
        return [custom_id_of(line) for line in source.selected(source.survey(custom_id_of))]

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
    assert drawn(0) == sorted(drawn(0), key=int)
    assert len(set(drawn(0))) == 10


def test_the_limit_comes_before_the_sample(tmp_path: Path) -> None:
    source = Source(requests(tmp_path / "in.jsonl", *range(100)), limit=5, sample=50)
    lines = source.selected(source.survey(custom_id_of))
    assert [custom_id_of(line) for line in lines] == ["0", "1", "2", "3", "4"]


def test_lines_added_after_the_survey_are_noticed_but_not_read(tmp_path: Path) -> None:
    source = Source(requests(tmp_path / "in.jsonl", 1, 2))
    survey = source.survey(custom_id_of)
    assert not source.has_grown(survey)
    with (tmp_path / "in.jsonl").open("a") as file:
        file.write('{"id": 1, "prompt": "again"}\n')
    assert [custom_id_of(line) for line in source.selected(survey)] == ["1", "2"]
    assert source.has_grown(survey)


@pytest.mark.parametrize(
    ("lines", "max_tokens", "expected"),
    [
        ([b'{"prompt": "' + b"word " * 79 + b'x"}'] * 3, None, (102, 500)),
        ([b'{"prompt": "x"}'] * 2, 40, (3, 40)),
        ([b'{"max_tokens": 10}', b'{"body": {"max_completion_tokens":30}}'], 40, (7, 20)),
        ([b'{"prompt": "x", "max_tokens": 100}', b"{}", b"{}", b"{}"], 20, (2, 40)),
        ([b'{"max_tokens": 100000}'], 7, (5, 500)),
        ([], None, (500, 500)),
    ],
)
def test_the_tokens_of_a_batch_are_estimated_from_its_lines(
    lines: list[bytes], max_tokens: int | None, expected: tuple[int, int]
) -> None:
    sizes = Sizes()
    for number, data in enumerate(lines, 1):
        sizes.add(Line(number, data))
    assert sizes.likely_tokens(max_tokens) == expected


@pytest.mark.parametrize(
    ("text", "kind", "values"),
    [
        ('[{"prompt": "a"},\n {"prompt": "b"}]', "array", ".[]"),
        ('\n[\n  {"prompt": "a"}\n]\n', "array", ".[]"),
        ('\ufeff[ {"prompt": "a"}]', "array", ".[]"),
        ('{\n  "prompt": "a"\n}', "object", "."),
    ],
)
def test_a_json_document_is_named_with_the_way_to_make_lines_of_it(
    tmp_path: Path, text: str, kind: str, values: str
) -> None:
    path = tmp_path / "in.json"
    path.write_text(text, "utf-8")
    for read in (lambda source: source.survey(custom_id_of), lambda source: list(source.selected(None))):
        with pytest.raises(UsageError) as caught:
            read(Source(path))
        assert caught.value.message == f"{path} is a JSON {kind}, not one JSON object per line"
        assert caught.value.hint == f"Make lines of it: jq -c '{values}' {path} > lines.jsonl"


def test_a_line_with_an_array_is_a_line_that_fails(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('[1, 2]\n{"prompt": "x"}\n')
    assert Source(tmp_path / "in.jsonl").survey(custom_id_of).count == 2


@given(
    count=st.integers(1, 40),
    n=st.integers(1, 12),
    limit=st.none() | st.integers(1, 50),
    sample=st.none() | st.integers(1, 50),
)
def test_shards_are_disjoint_complete_and_of_equal_size(
    tmp_path_factory: pytest.TempPathFactory, count: int, n: int, limit: int | None, sample: int | None
) -> None:
    path = requests(tmp_path_factory.mktemp("shards") / "in.jsonl", *range(count))
    whole = Source(path, limit=limit, sample=sample)
    expected = [line.number for line in whole.selected(whole.survey(custom_id_of))]
    shares = []
    for number in range(1, n + 1):
        source = replace(whole, shard=Shard(number, n))
        survey = source.survey(custom_id_of)
        lines = list(source.selected(survey))
        assert [id_hash(custom_id_of(line)) for line in lines] == list(survey.ids)
        if sample is None:
            assert len([*source.shard_lines()]) == len(lines)
            assert list(source.selected(None)) == lines, "as from a pipe"
        shares.append([line.number for line in lines])
    assert [number for share in shares for number in share if share != sorted(share)] == []
    assert sorted(number for share in shares for number in share) == expected
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_blank_lines_and_the_header_of_a_table_belong_to_no_shard(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text('prompt\n"a\nb"\n\nc\nd\ne\n')
    source = Source(path, Format.CSV, shard=Shard(2, 2))
    assert [(line.number, line.fields) for line in source.selected(None)] == [
        (5, {"prompt": "c"}),
        (7, {"prompt": "e"}),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0/8", "--shard 0/8: the first number must be from 1 to the second"),
        ("9/8", "--shard 9/8: the first number must be from 1 to the second"),
        ("0/0", "--shard 0/0: the first number must be from 1 to the second"),
        *(
            (text, "is not of the form I/N, such as 3/8")
            for text in ("3", "a/b", "/", "-1/8", "1/8/2", "", "٣/٨")
        ),
    ],
)
def test_a_shard_that_does_not_exist_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        Shard.parse(text)
    assert said in refused.value.message
    assert "\n" not in refused.value.message + refused.value.hint
    assert str(Shard.parse("3/8")) == "3/8"
