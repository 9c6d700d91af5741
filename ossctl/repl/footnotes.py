"""Citations of pages in the answers of a chat, as footnotes below them."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ossctl.app.chat.events import Answered, ChatEvent, ToolRan
from ossctl.dialect import Answer, Message, Preamble, ToolCall

if TYPE_CHECKING:  # most chats have no browser
    from ossctl.app.tools.browser.citations import Citations

_BROWSER = "browser_"  # how the names of the browser's functions begin


class Footnotes:
    """Rewrites the events of answers for the view, once the model has used the browser.

    A piece of text that may become a citation is held back: its event stays, with less text or none.
    """

    def __init__(self) -> None:
        self._results: list[str] = []
        self._citations: Citations | None = None

    def begin(self, transcript: Iterable[Message]) -> None:
        """Before an answer: it may cite what earlier calls have found."""
        self._results = _results(transcript)
        self._begin_text()

    def rewritten(self, event: ChatEvent) -> Iterator[ChatEvent]:
        """Yield what to show for an event."""
        match event:
            case Preamble(text) | Answer(text) if self._citations is not None:
                event = replace(event, text=self._citations.add(text))
            case ToolCall() | Answered():
                yield from self.end_text()
            case ToolRan(outcome) if outcome.call.name.startswith(_BROWSER):
                self._results.append(outcome.result)
                self._begin_text()
        yield event

    def end_text(self) -> Iterator[ChatEvent]:
        """Yield the text that was held back, with the footnotes of all text since the last call."""
        if self._citations is None:
            return
        notes = [f"\n\n{note}" for note in self._citations.footnotes]
        if text := "".join([self._citations.end(), *notes]):
            yield Answer(text)
        self._begin_text()

    def _begin_text(self) -> None:
        self._citations = None
        if self._results:
            from ossctl.app.tools.browser.citations import Citations, cited_pages

            self._citations = Citations(cited_pages(self._results))


def footnoted(answer: str, transcript: Iterable[Message]) -> str:
    """An answer of an earlier turn with its footnotes, if it cites pages of the transcript."""
    results = _results(transcript)
    if not results:
        return answer
    from ossctl.app.tools.browser import citations

    return citations.footnoted(answer, results)


def _results(transcript: Iterable[Message]) -> list[str]:
    return [message.content for message in transcript if message.tool.startswith(_BROWSER)]
