"""How an answer is shown while it comes: what every view does, and the one in plain text."""

from time import monotonic
from typing import Literal, Protocol, TextIO

from ossctl.app.chat.events import Answered, ChatEvent, Prefilling, ToolRan
from ossctl.dialect import Answer, Preamble, Reasoning, ToolCall
from ossctl.repl.wording import thought
from ossctl.text import harmless

ShowReasoning = Literal["show", "fold", "hide"]

_LONGEST_SHOWN = 500  # characters of a call or its result
_BETWEEN = "\n\n"


class View(Protocol):
    """Shows one answer after the other."""

    reasoning: ShowReasoning

    def begin(self) -> None:
        """An answer begins."""

    def take(self, event: ChatEvent) -> None:
        """Something came."""

    def pause(self) -> None:
        """Somebody else writes, until the next event."""

    def note(self, text: str) -> None:
        """A line about the answer that has ended."""

    def end(self) -> None:
        """The answer is over, whether it is complete or not; the cursor is at the start of a line."""


class PlainView:
    """Text as it comes, without colour and cursor movement. `reasoning` goes to `aside`."""

    def __init__(self, out: TextIO, aside: TextIO, reasoning: ShowReasoning = "fold") -> None:
        self.reasoning = reasoning
        self._out, self._aside = out, aside
        self._clock = Clock()
        self._tail = ""  # the latest character of the answer
        self._thinking = False

    def begin(self) -> None:
        """See `View.begin`."""
        self._clock = Clock()
        self._tail, self._thinking = "", False

    def take(self, event: ChatEvent) -> None:
        """See `View.take`."""
        self._clock.take(event)
        match event:
            case Reasoning(text):
                self._thinking = True
                if self.reasoning == "show":
                    self._aside.write(harmless(text))
                    self._aside.flush()
            case Preamble(text) | Answer(text):
                self._fold()
                self._write(text)
            case ToolCall(name, arguments):
                self._fold()
                self._say(f"calls {name}({short(arguments)})")
            case ToolRan(outcome):
                self._say(f"  → {'' if outcome.ok else 'failed: '}{short(outcome.result)}")
            case Answered():
                self._fold()

    def pause(self) -> None:
        """See `View.pause`."""
        self.end()

    def note(self, text: str) -> None:
        """See `View.note`."""
        self._say(f"({text})")

    def end(self) -> None:
        """See `View.end`."""
        if self._tail not in ("", "\n"):
            self._write("\n")
        self._tail = ""

    def _fold(self) -> None:
        if self._thinking and self.reasoning != "hide":
            line = thought(self._clock.thinking, self._clock.reasoning_pieces)
            self._say(f"{_BETWEEN if self.reasoning == 'show' else ''}({line})")
        self._thinking = False

    def _write(self, text: str) -> None:
        self._out.write(harmless(text))
        self._out.flush()
        self._tail = text[-1:]

    def _say(self, line: str) -> None:
        self.end()
        self._aside.write(f"{harmless(line)}\n")
        self._aside.flush()


class Clock:
    """What can be told of an answer that is being written. Times in seconds; a piece is about a token."""

    def __init__(self) -> None:
        self._began = monotonic()
        self._first: float | None = None
        self._answer: float | None = None  # when it began
        self.pieces = 0
        self.reasoning_pieces = 0
        self.prefill = Prefilling(0, 0)

    def take(self, event: ChatEvent) -> None:
        """Something came."""
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
        """How long it reasoned, or has until now."""
        return (self._answer or monotonic()) - (self._first or self._began)

    @property
    def rate(self) -> float:
        """Tokens a second."""
        seconds = monotonic() - (self._first or monotonic())
        return self.pieces / seconds if seconds > 0.5 else 0.0


def short(text: str) -> str:
    """A call or a result in one line."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}…"
