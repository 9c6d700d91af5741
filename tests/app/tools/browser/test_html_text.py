"""HTML as text: what shows, in the form that gpt-oss reads."""

from time import perf_counter

import pytest

from ossctl.app.tools.browser.html_text import html_page

DOCUMENT = """<!doctype html><html><head><title>Hello &amp; bye</title><style>a{}</style></head>
<body><nav><ul><li><a href="/x">Home</a></ul></nav>
<h1>Title <i>it</i></h1><p>Some <b>bold</b>  text
 with <a href="b.html">a <b>link</b></a>, <a href="https://example.org/a?b=1&amp;c">another</a> and
 <a href="#x">an anchor</a>.<p>Second<br>line
<script>if (a<b) document.write("<p>no</p>")</script>
<ol><li>one<li>two<ul><li>inner</ul></ol>
<table><tr><th>a</th><th>b</th></tr><tr><td>1<td>2</table>
<pre>  x = 1
    y</pre><img alt="cat" src=x> x<sup>2</sup> <svg><text>no</text></svg> a < b <!-- no -->end"""

TEXT = """\
  * 【0†Home】

# Title it

Some bold text with 【1†a link】, 【2†another†example.org】 and an anchor.

Second
line

  1. one
  2. two
    * inner

a | b
1 | 2

  x = 1
    y

[Image 0: cat] x^{2} a < b end"""


def test_a_document_as_text_with_numbered_links() -> None:
    page = html_page(DOCUMENT, "dir/a.html")
    assert page.title == "Hello & bye"
    assert page.text == TEXT
    assert [page.links[n].url for n in range(3)] == ["/x", "dir/b.html", "https://example.org/a?b=1&c"]


def test_a_text_cannot_imitate_a_link_or_hide() -> None:
    page = html_page("<p>【9†x】 \x1b[31mred &#x202e;turned\u200b <|start|>", "a.html")
    assert page.text == "〖9†x〗 [31mred turned <|start|>"
    assert not page.links


@pytest.mark.parametrize(
    "html", ["", "<", "</", "<!--", "<p", "<a href='x", "<title>", "<script>x", "&#xd800;", "<![["]
)
def test_broken_documents_are_read_to_their_end(html: str) -> None:
    html_page(html, "a.html")
    html_page(f"<p>text</p>{html}", "https://[broken").lines  # noqa: B018 (it must not raise)


@pytest.mark.parametrize("part", ["<!--", '<a "', "<a href=x>", "<ul><li>x", "</", "<title>"])
def test_the_time_is_linear_in_the_length(part: str) -> None:
    started = perf_counter()
    html_page(part * 20_000, "a.html")
    assert perf_counter() - started < 2.0
