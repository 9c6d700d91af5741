"""A comparison as a page of HTML."""

from collections.abc import Iterator, Sequence

from ossctl.app.compare.results import Answer, Comparison, Prompt, Verdict
from ossctl.app.compare.word_diff import word_diff
from ossctl.app.compare.wording import (
    notes_of,
    summary_table,
    verdict_lines,
    verdict_text,
    vote_lines,
)
from ossctl.app.html_page import escape, html_page

_STYLE = """
body { max-width: 100rem; }
.prompt { border-left: 4px solid #8888; padding-left: .8rem; font-weight: 600; }
.answers { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 1rem; }
.answers > section { border: 1px solid #8886; border-radius: .5rem; padding: .3rem .9rem; min-width: 0; }
.answers h3 { margin: .4rem 0; overflow-wrap: anywhere; }
del { background: #d0302f33; } ins { background: #2a9d3a33; text-decoration: none; }
table { font-size: .9rem; } .wide { overflow-x: auto; } td + td, th + th { text-align: right; }
details { margin: .4rem 0; }
"""


def html_of(comparison: Comparison, *, diff: bool = False) -> str:
    """The page: a table, then a row of answers for each prompt. `diff` adds word diffs."""
    body = [*_overview(comparison)]
    for prompt in comparison.prompts:
        body += _prompt(comparison, prompt, diff=diff)
    return html_page("Comparison", "\n".join(body), _STYLE)


def _overview(comparison: Comparison) -> Iterator[str]:
    head, *rows = summary_table(comparison)
    cells = "\n".join(f"<tr>{row}</tr>" for row in (_cells("th", head), *(_cells("td", row) for row in rows)))
    yield f'<div class="wide"><table>\n{cells}\n</table></div>'
    failed = [f"{each.label} failed: {each.error}" for each in comparison.contestants if each.error]
    yield from (f"<p>{escape(line)}</p>" for line in failed)
    for title, lines in (("Votes", vote_lines), ("Verdicts", verdict_lines)):
        if found := [*lines(comparison)]:
            yield f"<h2>{title}</h2>"
            yield from (f"<p>{escape(line)}</p>" for line in found)


def _cells(tag: str, row: Sequence[str]) -> str:
    return "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)


def _prompt(comparison: Comparison, prompt: Prompt, *, diff: bool) -> Iterator[str]:
    answers = comparison.answers_to(prompt)
    yield f"<h2>Prompt {escape(prompt.id)}</h2>"
    yield f'<p class="prompt text" dir="auto">{escape(prompt.text)}</p>'
    yield f'<div class="answers">\n{"".join(map(_answer, answers))}</div>'
    if diff:
        yield from _diffs(answers)
    yield from (_verdict(each) for each in comparison.verdicts if each.prompt == prompt.id)


def _answer(answer: Answer) -> str:
    notes = "<br>".join(map(escape, notes_of(answer)))
    reasoning = (
        f'<details><summary>Reasoning</summary><p class="text" dir="auto">{escape(answer.reasoning)}</p>'
        "</details>\n"
        if answer.reasoning
        else ""
    )
    return (
        f"<section><h3>{escape(answer.contestant)}</h3>\n{reasoning}"
        f'<p class="text" dir="auto">{escape(answer.answer)}</p>\n<p class="note">{notes}</p></section>\n'
    )


def _diffs(answers: Sequence[Answer]) -> Iterator[str]:
    """The first answer against each of the others."""
    tags = {"same": ("", ""), "removed": ("<del>", "</del>"), "added": ("<ins>", "</ins>")}
    for other in answers[1:]:
        pieces = word_diff(answers[0].answer, other.answer)
        text = "".join(escape(piece.text).join(tags[piece.kind]) for piece in pieces)
        yield f'<p class="note">From {escape(answers[0].contestant)} to {escape(other.contestant)}:</p>'
        yield f'<p class="text" dir="auto">{text}</p>'


def _verdict(verdict: Verdict) -> str:
    ruling, *reasons = verdict_text(verdict).splitlines()
    items = "".join(f"<li>{escape(each.strip())}</li>" for each in reasons)
    return f"<details><summary>{escape(ruling)}</summary><ul>{items}</ul></details>"
