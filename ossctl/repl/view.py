"""Shows answers while they are generated: the interface of all views, and the plain text view."""

from time import monotonic
from typing import Literal, Protocol, TextIO

from ossctl.app.chat.events import Answered, ChatEvent, Prefilling, ToolRan
from ossctl.dialect import Answer, Preamble, Reasoning, ToolCall
from ossctl.repl.wording import thought
from ossctl.text import for_stream, one_line

ShowReasoning = Literal["show", "fold", "hide"]

_BETWEEN = "\n\n"


class View(Protocol):
    """Shows one answer at a time."""

    reasoning: ShowReasoning

    def begin(self) -> None:
        """Start an answer."""

    def take(self, event: ChatEvent) -> None:
        """Show an event."""

    def pause(self) -> None:
        """Let something else write to the terminal until the next event."""

    def note(self, text: str) -> None:
        """Show a line about the answer that has ended."""

    def end(self) -> None:
        """End the answer, complete or not, with the cursor at the start of a line."""


class PlainView:
    """Writes plain text as it arrives: the answer to `out`, everything else to `aside`."""

    def __init__(self, out: TextIO, aside: TextIO, reasoning: ShowReasoning = "fold") -> None:
        self.reasoning = reasoning
        self._out, self._aside = out, aside
        self._clock = Clock()
        self._tail = ""  # the last character written of the answer
        self._thinking = False

    def begin(self) -> None:
        self._clock = Clock()
        self._tail, self._thinking = "", False

    def take(self, event: ChatEvent) -> None:
        self._clock.take(event)
        match event:
            case Reasoning(text):
                self._thinking = True
                if self.reasoning == "show":
                    self._aside.write(for_stream(text, self._aside))
                    self._aside.flush()
            case Preamble(text) | Answer(text):
                self._fold()
                self._write(text)
            case ToolCall(name, arguments):
                self._fold()
                self._say(f"calls {name}({one_line(arguments)})")
            case ToolRan(outcome):
                self._say(f"  → {'' if outcome.ok else 'failed: '}{one_line(outcome.result)}")
            case Answered():
                self._fold()

    def pause(self) -> None:
        self.end()

    def note(self, text: str) -> None:
        self._say(f"({text})")

    def end(self) -> None:
        if self._tail not in ("", "\n"):
            self._write("\n")
        self._tail = ""

    def _fold(self) -> None:
        if self._thinking and self.reasoning != "hide":
            line = thought(self._clock.thinking, self._clock.reasoning_pieces)
            self._say(f"{_BETWEEN if self.reasoning == 'show' else ''}({line})")
        self._thinking = False

    def _write(self, text: str) -> None:
        if not text:
            return
        self._out.write(for_stream(text, self._out))
        self._out.flush()
        self._tail = text[-1:]

    def _say(self, line: str) -> None:
        self.end()
        self._aside.write(for_stream(f"{line}\n", self._aside))
        self._aside.flush()


class Clock:
    """Measures an answer while it is generated, in seconds and text pieces, about one per token."""

    def __init__(self) -> None:
        self._began = monotonic()
        self._first: float | None = None
        self._answer: float | None = None  # when the reasoning ended
        self.pieces = 0
        self.reasoning_pieces = 0
        self.prefill = Prefilling(0, 0)

    def take(self, event: ChatEvent) -> None:
        """Count an event."""
        now = monotonic()
        if isinstance(event, Prefilling):
            self.prefill = event
        elif isinstance(event, Reasoning | Preamble | Answer):
            self._first = self._first or now
            self.pieces += 1
            if isinstance(event, Reasoning):
                self.reasoning_pieces += 1
            else:
                self._answer = self._answer or now

    @property
    def elapsed(self) -> float:
        return monotonic() - self._began

    @property
    def thinking(self) -> float:
        """Time of reasoning so far."""
        return (self._answer or monotonic()) - (self._first or self._began)

    @property
    def rate(self) -> float:
        """Tokens per second."""
        seconds = monotonic() - (self._first or monotonic())
        return self.pieces / seconds if seconds > 0.5 else 0.0
