"""Citations in answers, whole and in pieces."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ossctl.app.tools.browser.citations import Citations, cited_pages, with_footnotes

SEARCH = "[0] weather (now)\n**viewing lines [0 - 1] of 1**\n\nL1:   * 【0†Turku†a.md】 It rains."
PAGE = (
    "[1] Turku (docs/a (old).md)\n**viewing lines [7 - 9] of 20**\n\n"
    "L7: It is 12\nL8: degrees in 【3†Turku】.\nL9: [5] x"
)
RESULTS = [SEARCH, '{"error":"no page"}', PAGE]


def test_citations_become_footnotes_with_title_place_and_quotation() -> None:
    answer = "It is 12 degrees【1†L7-L8】, and rainy【0†L1】. 12 degrees!【1†L7-L8】"
    text, notes = with_footnotes(answer, cited_pages(RESULTS))
    assert text == "It is 12 degrees[1], and rainy[2]. 12 degrees![1]"
    assert [*map(str, notes)] == [
        "[1] Turku (docs/a (old).md): “It is 12 degrees in Turku.”",
        "[2] weather (now): “* Turku It rains.”",
    ]


@pytest.mark.parametrize(
    ("answer", "shown", "quotations"),
    [
        ("a【1†L7\u20139】b", "a[1]b", ["It is 12 degrees in Turku. [5] x"]),
        ("a【1†L7-L999999999】", "a[1]", ["It is 12 degrees in Turku. [5] x"]),
        ("a【1†source】【1†L99】", "a[1][1]", [""]),
        ("a【1†L7†turku.md】", "a[1]", ["It is 12"]),
        ("a【7†L7】【x】 【1 】", "a【7†L7】【x】 【1 】", []),
        ("a【1†L7", "a【1†L7", []),
        ("【", "【", []),
        ("`【1†L7】` ``a`【1†L7】`` b【1†L7】", "`【1†L7】` ``a`【1†L7】`` b[1]", ["It is 12"]),
        ("an odd ` here【1†L7】\nb`【1†L7】", "an odd ` here[1]\nb`[1]", ["It is 12"]),
        (
            "1. a:\n   ```py\nx = '【1†L7】'\n```x\n```\nb【1†L7】",
            "1. a:\n   ```py\nx = '【1†L7】'\n```x\n```\nb[1]",
            ["It is 12"],
        ),
        ("~~~~\n【1†L7】\n~~~\n```\n【1†L7】", "~~~~\n【1†L7】\n~~~\n```\n【1†L7】", []),
        ("```a``` b【1†L7】\nc【1†L7】", "```a``` b【1†L7】\nc[1]", ["It is 12"]),
    ],
)
def test_forms_of_citations(answer: str, shown: str, quotations: list[str]) -> None:
    text, notes = with_footnotes(answer, cited_pages(RESULTS))
    assert text == shown
    assert [note.quotation for note in notes] == quotations


TOKENS = ["【", "】", "1", "†", "L7", "-", "a ", "\n", "【1†L7-L8】", "【0†L1】", "`", "```"]


@given(st.lists(st.sampled_from(TOKENS), max_size=25).map("".join), st.integers(1, 5))
@example("【1†`-【1†L7-L8】】a `a", 2)  # a quote within a citation begins no code
def test_pieces_give_the_same_as_the_whole(answer: str, size: int) -> None:
    pages = cited_pages(RESULTS)
    citations = Citations(pages)
    pieces = [citations.add(answer[i : i + size]) for i in range(0, len(answer), size)]
    assert ("".join(pieces) + citations.end(), citations.footnotes) == with_footnotes(answer, pages)


def test_text_without_citations_is_not_held_back() -> None:
    citations = Citations({})
    assert [citations.add(piece) for piece in ("a 【b", " 【1", "2", " c】", "【1†" + "x" * 101)] == [
        "a 【b",
        " ",
        "",
        "【12 c】",
        "【1†" + "x" * 101,
    ]
