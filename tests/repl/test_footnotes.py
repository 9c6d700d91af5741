"""Citations of the browser's pages in a chat."""

from collections.abc import Iterable

from ossctl.app.chat.events import ChatEvent, ToolRan
from ossctl.app.tools.source import ToolOutcome
from ossctl.dialect import Answer, Message, Preamble, Reasoning, ToolCall
from ossctl.repl.footnotes import Footnotes, footnoted
from tests.app.tools.browser.test_citations import PAGE
from tests.repl.test_rich_view import DONE


def shown(notes: Footnotes, *events: ChatEvent) -> str:
    rewritten = [each for event in events for each in notes.rewritten(event)]
    assert rewritten[-1] == events[-1]
    return "".join(each.text for each in rewritten if isinstance(each, Answer))


def text_of(events: Iterable[ChatEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Answer | Preamble)]


def opened(name: str = "browser_open") -> ToolRan:
    return ToolRan(ToolOutcome(ToolCall(name, "{}"), PAGE, ok=True))


def test_citations_in_pieces_become_footnotes_below_the_answer() -> None:
    notes = Footnotes()
    pieces = [Answer("It is 12 degrees【1†L7"), Answer("-L8】."), Answer(" Wow")]
    cited = "It is 12 degrees[1]. Wow\n\n[1] Turku (docs/a (old).md): “It is 12 degrees in Turku.”"
    assert shown(notes, opened(), Reasoning("hm"), *pieces, DONE) == cited
    notes.begin([Message("user", "?"), Message("tool", PAGE, tool="browser_open")])
    assert shown(notes, *pieces, DONE) == cited  # a later turn may cite the page, also in a resumed chat
    assert shown(notes, Answer("No citation【"), DONE) == "No citation【"


def test_text_before_a_call_is_complete_and_has_its_own_footnotes() -> None:
    notes = Footnotes()
    call = ToolCall("browser_open", "{}")
    notes.begin([Message("user", "?"), Message("tool", PAGE, tool="browser_open")])
    before, after = Preamble("It is 12【1†L7】. I open `more"), Answer("It is still 12【1†L7】.")
    events: list[ChatEvent] = [before, call, opened(), after, DONE]
    rewritten = [each for event in events for each in notes.rewritten(event)]
    footnote = "[1] Turku (docs/a (old).md): “It is 12”"
    at = rewritten.index(call)
    assert "".join(text_of(rewritten[:at])) == f"It is 12[1]. I open `more\n\n{footnote}"
    assert "".join(text_of(rewritten[at:])) == f"It is still 12[1].\n\n{footnote}"


def test_text_that_was_held_back_is_shown_when_the_answer_breaks_off() -> None:
    notes = Footnotes()
    notes.begin([Message("user", "?"), Message("tool", PAGE, tool="browser_open")])
    assert text_of(notes.rewritten(Answer("a `b"))) == ["a "]
    assert text_of(notes.end_text()) == ["`b"]
    assert text_of(notes.end_text()) == []


def test_without_the_browser_nothing_is_rewritten() -> None:
    text = "It is 12 degrees【1†L7-L8】."
    assert shown(Footnotes(), opened("read_file"), Answer(text), DONE) == text


def test_an_earlier_answer_is_shown_with_its_footnotes() -> None:
    transcript = [Message("user", "?"), Message("tool", PAGE, tool="browser_open")]
    assert (
        footnoted("12 degrees【1†L7】.", transcript)
        == "12 degrees[1].\n\n[1] Turku (docs/a (old).md): “It is 12”"
    )
    assert footnoted("12 degrees【1†L7】.", transcript[:1]) == "12 degrees【1†L7】."
