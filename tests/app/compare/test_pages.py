"""Pages in Markdown and HTML: complete, escaped, and without parts from elsewhere."""

import re
from html.parser import HTMLParser

from ossctl.app.compare.html import html_of
from ossctl.app.compare.markdown import markdown_of
from ossctl.app.compare.results import Answer, Comparison, Contestant, Head, Opinion, Prompt, Verdict
from ossctl.app.inference.finish import AnswerFinish

NASTY = '<script>alert(1)</script> & "quoted" </p> ![](http://example.org/x.png)\n# Heading\n```\n| a |'


def nasty() -> Comparison:
    """Markup wherever text is from a model or a user."""
    found = Comparison(
        Head(schema="ossctl.compare/1"),
        [Prompt(id=NASTY, messages=({"role": "user", "content": NASTY},))],
        [
            Contestant(label="<b>one|", model="one", seconds=1.0),
            Contestant(label="two", model="two"),
            Contestant(label="gone", model="gone", error=NASTY),
        ],
    )
    for label, more in (("<b>one|", "yes"), ("two", "no")):
        found.answers[NASTY, label] = Answer(
            prompt=NASTY,
            contestant=label,
            key=label,
            answer=f"{NASTY} {more}",
            reasoning=f"thought {NASTY}",
            finish_reason=AnswerFinish.LENGTH,
            answer_tokens=7,
        )
    opinion = Opinion(verdict="first", reason=NASTY)
    found.verdicts = [
        Verdict(
            prompt=NASTY,
            judge="<i>j",
            first="<b>one|",
            second="two",
            ruling="first",
            opinion=opinion,
            swapped=opinion,
        )
    ]
    return found


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_holds_all_text_as_text_and_loads_nothing() -> None:
    page = html_of(nasty(), diff=True)
    tags = Tags()
    tags.feed(page)
    assert not tags.found & {"script", "img", "link", "iframe", "b", "i"}
    assert not tags.attributes & {"src", "href", "onload", "style"}
    assert tags.text.count(NASTY) >= 5
    assert "cut off at the token limit" in tags.text
    assert {"ins", "del", "details"} <= tags.found


def test_markdown_keeps_answers_in_quotes_and_its_own_headings() -> None:
    page = markdown_of(nasty(), diff=True, reasoning=True)
    fences = re.compile(r"^(`{3,})\n.*?^\1$", re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ .*$", fences.sub("", page), re.MULTILINE)
    assert headings[0] == "# Comparison"
    assert "## Verdicts" in headings
    assert "# Heading" not in headings
    assert "> # Heading" in page
    assert "| \\<b\\>one\\| | 1 | 1 |" in page
    assert "gone failed: " in page


def test_pages_cannot_control_the_terminal_that_shows_them() -> None:
    found = nasty()
    found.answers[NASTY, "two"] = Answer(
        prompt=NASTY, contestant="two", key="two", answer="\x1b[2J\x07red", answer_tokens=1
    )
    for page in (html_of(found), markdown_of(found)):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", page)
        assert "red" in page
