"""Reports of an evaluation: what stands in them, and that no value can break them."""

import csv
import io
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import msgspec
import pytest
from markdown_it import MarkdownIt

from ossctl.app.eval.report.data import from_json, records, to_csv, to_json
from ossctl.app.eval.report.markdown import markdown
from ossctl.app.eval.report.page import html
from ossctl.app.eval.report.picture import picture
from ossctl.app.eval.report.rows import label_of, pairs_of, rows_of
from ossctl.app.eval.report.tables import Table, scores_table, tables_of
from ossctl.app.eval.report.wording import count, points, time
from ossctl.app.eval.results import Evaluation, Model, Outcome, Sample, TaskResult
from ossctl.cli.eval_view import describe_evaluation
from ossctl.errors import UsageError
from tests.support.evaluations import result

OSS = Model(name="20b", file="gpt-oss-20b-MXFP4.gguf", fingerprint="o", quantization="MXFP4")
Q4 = Model(
    name="me/gpt-oss-20b:Q4_K_M", file="gpt-oss-20b-Q4_K_M.gguf", fingerprint="q", quantization="Q4_K_M"
)
HOSTILE = '</td><script>alert(1)</script>|`*_[a](b) "quoted" & \n\t<!-- '


def answers(
    correct: int, wrong: int = 0, truncated: int = 0, failed: int = 0, repeats: int = 1
) -> list[Sample]:
    outcomes: list[Outcome] = [
        *["correct"] * correct,  # type: ignore[list-item]
        *["wrong"] * wrong,  # type: ignore[list-item]
        *["truncated"] * truncated,  # type: ignore[list-item]
        *["failed"] * failed,  # type: ignore[list-item]
    ]
    return [
        Sample(
            id=f"q{number}",
            epoch=epoch,
            outcome=outcome,
            score=float(outcome == "correct"),
            target="7",
            given="7" if outcome == "correct" else "8",
            reasoning_tokens=300,
            answer_tokens=100,
            error="no memory" if outcome == "failed" else None,
        )
        for number, outcome in enumerate(outcomes)
        for epoch in range(1, repeats + 1)
    ]


def evaluation(*results: TaskResult) -> Evaluation:
    return Evaluation(
        results=results, machine="2 cores", versions={"ossctl": "1.0", "llama.cpp": "b1"}, date="2026-11-29"
    )


AIME = evaluation(
    result(answers(20, 4, 5, 1), "aime25", OSS, "medium", wh=1.5),
    result(answers(9, 1), "own"),
    result(answers(12, 18), "aime25", Q4, "medium"),
)


def cells(table: Table) -> list[dict[str, str]]:
    return [dict(zip(table.headings, line, strict=True)) for line in table.lines]


def test_scores_stand_beside_what_was_published_and_whether_the_difference_means_anything() -> None:
    table = scores_table(rows_of(AIME))
    first, second, own = cells(table)

    assert first == {
        "task": "AIME 2025",
        "model": "20b",
        "quantisation": "MXFP4",
        "effort": "medium",
        "questions": "30",
        "score": "66.7 %",
        "95 % interval": "48.8\N{EN DASH}80.8",
        "truncated": "5 (17 %)",
        "failed": "1 (3 %)",
        "published": "72.1 % [1]",
        "difference": "\N{MINUS SIGN}5.4 (\N{MINUS SIGN}27.4 to +17.3)",
        "meaning": "may be chance",
    }
    assert (second["model"], second["meaning"]) == ("gpt-oss-20b", "lower")
    assert (own["published"], own["meaning"]) == ("\N{EN DASH}", "\N{EN DASH}")
    assert [note.mark for note in table.notes] == ["[1]"]
    assert "2508.10925" in table.notes[0].url


def test_columns_and_tables_without_content_are_left_out() -> None:
    tables = {table.title: table for table in tables_of(evaluation(result(answers(9, 1), "own")))}

    assert "published" not in tables["Scores"].headings
    assert "effort" not in tables["Scores"].headings
    assert "Wh" not in tables["Cost"].headings
    assert list(tables) == ["Scores", "Cost", "A published comparison, checked"]


def test_repeats_show_what_any_and_what_most_answers_give() -> None:
    repeated = evaluation(result(answers(3, 1, repeats=4), "own", repeats=4, set_size=500))
    tables = {table.title: cells(table) for table in tables_of(repeated)}

    assert tables["Scores"][0]["questions"] == "4 of 500 \N{MULTIPLICATION SIGN} 4"
    assert tables["Repeats"][0]["pass@k"].startswith("75.0 %")
    assert tables["Repeats"][0]["maj@k"].startswith("75.0 %")


def test_results_are_compared_with_the_same_setting_and_with_the_same_model() -> None:
    efforts = [
        result(answers(n, 30 - n), "aime25", m, e) for m in (OSS, Q4) for n, e in ((9, "low"), (25, "high"))
    ]
    pairs = [(label_of(pair.second), label_of(pair.first)) for pair in pairs_of(evaluation(*efforts))]
    a, b = "20b · MXFP4", "gpt-oss-20b · Q4_K_M"

    assert pairs == [
        (f"{a} · high", f"{a} · low"),
        (f"{b} · low", f"{a} · low"),
        (f"{b} · high", f"{a} · high"),
        (f"{b} · high", f"{b} · low"),
    ]


def test_csv_has_a_line_of_numbers_for_each_result() -> None:
    first, *_ = lines = list(csv.DictReader(io.StringIO(to_csv(AIME))))

    assert len(lines) == 3
    assert (first["task"], first["correct"], first["truncated"], first["failed"]) == (
        "aime25",
        "20",
        "5",
        "1",
    )
    assert float(first["score"]) == pytest.approx(2 / 3, abs=1e-5)
    assert float(first["published"]) == 0.721
    assert float(first["tokens_per_second"]) == 200
    assert first["conclusive"] == "False"
    assert to_csv(evaluation()) == ""


def test_json_is_read_back_as_it_was() -> None:
    content = to_json(AIME)

    assert from_json(content, "a.json") == AIME
    assert b'"summary"' in content
    assert [record["model"] for record in records(AIME)] == ["20b", "me/gpt-oss-20b:Q4_K_M", "nano"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "a.json is not an evaluation"),
        (b'{"results": [{}], "machine": "", "versions": {}}', "missing required field"),
        (b'{"results": [], "machine": "", "versions": {}, "schema": "ossctl.eval/9"}', "'ossctl.eval/9'"),
    ],
)
def test_json_that_is_no_evaluation_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        from_json(content, "a.json")

    assert caught.value.hint


def hostile() -> Evaluation:
    bad = Model(name=HOSTILE, file=HOSTILE, fingerprint="", quantization=HOSTILE)
    samples = [
        Sample(id=HOSTILE, outcome="wrong", score=0.0, target=HOSTILE, given=HOSTILE),
        Sample(id="2", outcome="failed", score=0.0, target="", given="", error=HOSTILE),
    ]
    return Evaluation(
        results=(result(samples, HOSTILE, bad, HOSTILE),), machine=HOSTILE, versions={HOSTILE: HOSTILE}
    )


class _Elements(HTMLParser):
    """Records tags, whether they are balanced, and addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"href", "src"}]
        if tag not in {"meta", "line", "circle", "path"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"line", "circle", "path"}:
            assert self.open.pop() == tag


@pytest.mark.parametrize("shown", [AIME, hostile(), evaluation()], ids=["real", "hostile", "empty"])
def test_a_page_is_whole_whatever_the_values_and_needs_nothing_from_elsewhere(shown: Evaluation) -> None:
    page = html(shown)
    elements = _Elements(page)

    assert not elements.open
    assert not elements.seen & {"script", "link", "img", "iframe"}
    assert all(address.startswith("https://") for address in elements.addresses)
    assert "src=" not in page
    assert "url(" not in page


def test_the_page_lists_what_was_not_correct() -> None:
    page = html(AIME)

    assert "AIME 2025: 20b · MXFP4 · medium, 10 of 30" in page
    assert "no memory" in page


def test_markdown_shows_hostile_values_as_text() -> None:
    text = markdown(hostile(), answers=True)
    rendered = MarkdownIt("commonmark").enable("table").render(text)
    tables = sum(line.startswith("| ---") for line in text.splitlines())

    assert rendered.count("<table>") == tables > 0
    assert "<script" not in rendered
    assert "<em>" not in rendered
    assert "<code>" not in rendered
    assert 'href="b"' not in rendered


def test_markdown_lists_answers_only_if_asked() -> None:
    assert "no memory" not in markdown(AIME)
    assert "no memory" in markdown(AIME, answers=True)
    assert "| AIME 2025 | 20b | MXFP4 |" in markdown(AIME)


def test_the_picture_has_a_dot_within_its_interval_and_a_mark_for_what_was_published() -> None:
    svg = ET.fromstring(picture(rows_of(AIME)))
    dots = svg.findall(".//circle[@class]")
    first = next(group for group in svg.findall("g") if group.find("path") is not None)
    line, dot = first.find("line"), first.find("circle")

    assert line is not None
    assert dot is not None
    assert float(line.attrib["x1"]) < float(dot.attrib["cx"]) < float(line.attrib["x2"])
    assert len(dots) == 3 + 1  # and one in the legend
    assert [text.text for text in svg.findall("text[@class='task']")] == ["AIME 2025", "own"]
    assert "AIME 2025, 20b · MXFP4 · medium: 66.7 %" in (svg.findtext("desc") or "")


def test_without_a_score_there_is_no_picture() -> None:
    assert picture(rows_of(evaluation(result([], "own")))) == ""


def test_a_narrow_terminal_leaves_out_columns_and_says_so_but_never_what_was_truncated() -> None:
    wide, narrow = ("\n".join(describe_evaluation(AIME, width)) for width in (None, 80))
    scores = narrow.split("Cost")[0].splitlines()

    assert "\N{MINUS SIGN}27.4 to +17.3" in wide
    assert "wider" not in wide
    assert max(len(line) for line in scores) <= 80
    assert "5 (17 %)" in narrow
    assert "(too narrow for quantisation, questions, published, difference, meaning)" in scores


def test_a_narrow_terminal_keeps_the_quantisation_of_models_of_one_name() -> None:
    other = msgspec.structs.replace(OSS, quantization="Q4_K_M")
    same = evaluation(
        result(answers(9, 1), "aime25", OSS, "low"), result(answers(9, 1), "aime25", other, "low")
    )
    lines = [*describe_evaluation(same, 40)]

    assert lines[:5] == [
        "Scores",
        "",
        "  model  quantisation  effort   score  95 % interval  truncated  failed",
        "AIME 2025",
        "  20b    MXFP4         low     90.0 %      59.6\N{EN DASH}98.2          0       0",
    ]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (time(4.24), "4.2 s"),
        (time(59.99), "1 min 0 s"),
        (time(725), "12 min 5 s"),
        (time(11520), "3 h 12 min"),
        (points(0.031), "+3.1"),
        (points(-0.0001), "0.0"),
        (count(1, 1000), "1 (<1 %)"),
        (count(0, 0), "0"),
    ],
)
def test_figures_are_rounded_as_people_read_them(shown: str, expected: str) -> None:
    assert shown == expected
