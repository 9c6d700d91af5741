"""Shows an answer on a terminal: Markdown while it grows, with a status line below."""

import os
from time import monotonic, process_time
from typing import TextIO

from rich.console import Console
from rich.text import Text

from ossctl.app.chat.events import Answered, ChatEvent, ToolRan, ToolRunning
from ossctl.dialect import Answer, Preamble, Reasoning, ToolCall
from ossctl.repl.markdown import THEME, MarkdownStream
from ossctl.repl.screen import LiveArea
from ossctl.repl.view import Clock, ShowReasoning
from ossctl.repl.wording import program_of, thought, tokens
from ossctl.text import can_encode, duration, harmless, one_line

_SECONDS_BETWEEN_FRAMES = 1 / 15
_MAX_SHARE = 0.08  # of one core for drawing
_REASONING_ROWS = 6  # of unfinished reasoning that are visible
_LONG_PREFILL_SECONDS = 0.5  # from then on its progress is shown
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class RichView:
    """A `View` with colours and a live area."""

    def __init__(self, out: TextIO, reasoning: ShowReasoning = "fold") -> None:
        self.reasoning = reasoning
        self._out = out
        self._console = Console(file=out, theme=THEME, highlight=False, force_terminal=True)
        self._area = LiveArea(out, *_size(out))
        self._unicode = can_encode(out, _SPINNER)
        self.begin()

    def begin(self) -> None:
        self._clock = Clock()
        self._answer = MarkdownStream(self._console)
        self._thoughts = ""
        self._shown_thoughts = 0  # characters that will not change
        self._folded = False
        self._next_frame = 0.0
        self._frames = 0
        self._running: tuple[str, float] | None = None  # a tool and when it started
        self._opened = False  # whether the empty line before the answer has been written

    def take(self, event: ChatEvent) -> None:
        self._clock.take(event)
        finished: list[str] = []
        match event:
            case Reasoning(text):
                self._thoughts += harmless(text)
            case Preamble(text) | Answer(text):
                finished = self._fold()
                self._answer.feed(text)
            case ToolCall(name, arguments):
                finished = [*self._fold(), *self._close_text(), *self._call(name, arguments)]
            case ToolRunning(call):
                self._running = self._running or (call.name, monotonic())
            case ToolRan(outcome):
                self._running = None
                finished = self._result(ok=outcome.ok, result=outcome.result)
                self._clock = Clock()
            case Answered():
                finished = self._fold()
        if finished or monotonic() >= self._next_frame:
            self._draw(finished)

    def pause(self) -> None:
        self._draw([])
        self._area.draw([], [])

    def note(self, text: str) -> None:
        self._area.draw(["", *self._dim(text, self._area.columns), ""], [])

    def end(self) -> None:
        self._area.resize(*_size(self._out))
        self._area.draw([*self._fold(), *self._close_text()], [])
        self._answer = MarkdownStream(self._console)

    def _draw(self, finished: list[str]) -> None:
        """Draw a frame. The more it costs, the later the next one."""
        began = process_time()
        self._area.resize(*_size(self._out))
        columns = self._area.columns
        done, live = self._answer.take(columns)
        thoughts, open_thoughts = self._reasoning(columns)
        status = self._status(columns)
        opening = [] if self._opened else [""]
        self._opened = True
        self._area.draw([*opening, *finished, *thoughts, *done], [*open_thoughts, *live, *status])
        self._frames += 1
        cost = process_time() - began
        self._next_frame = monotonic() + max(_SECONDS_BETWEEN_FRAMES, cost / _MAX_SHARE)

    def _reasoning(self, columns: int) -> tuple[list[str], list[str]]:
        """Finished and unfinished lines of the reasoning."""
        if self._folded or not self._thoughts or self.reasoning == "hide":
            return [], []
        if self.reasoning == "fold":
            latest = self._thoughts[-_REASONING_ROWS * columns :]
            return [], self._dim(latest, columns)[-_REASONING_ROWS:]
        end = self._thoughts.rfind("\n") + 1
        finished = self._thoughts[self._shown_thoughts : end]
        self._shown_thoughts = max(end, self._shown_thoughts)
        lines = self._dim(finished.removesuffix("\n"), columns) if finished else []
        return lines, self._dim(self._thoughts[end:], columns)

    def _fold(self) -> list[str]:
        """End the reasoning; return the lines that remain of it."""
        if self._folded or not self._thoughts:
            return []
        columns = self._area.columns
        lines: list[str] = []
        if self.reasoning == "show":
            lines = self._dim(self._thoughts[self._shown_thoughts :].rstrip(), columns)
        self._folded = True
        if self.reasoning == "hide":
            return []
        line = thought(self._clock.thinking, self._clock.reasoning_pieces)
        return [*lines, *self._dim(line, columns), ""]

    def _close_text(self) -> list[str]:
        """End the text; return its unfinished lines."""
        done, _ = self._answer.take(self._area.columns, closed=True)
        return done

    def _call(self, name: str, arguments: str) -> list[str]:
        self._answer = MarkdownStream(self._console)
        self._thoughts, self._folded, self._shown_thoughts = "", False, 0
        program = program_of(arguments)
        brief = "" if program else f"({one_line(harmless(arguments))})"
        return [
            *self._lines(Text.assemble(("● ", "cyan"), (name, "bold"), brief)),
            *(row for line in program for row in self._dim(f"  {harmless(line)}", self._area.columns)),
        ]

    def _result(self, *, ok: bool, result: str) -> list[str]:
        mark = ("  → ", "dim") if ok else ("  ✗ ", "red")
        return [*self._lines(Text.assemble(mark, (one_line(harmless(result)), "dim"))), ""]

    def _status(self, columns: int) -> list[str]:
        """The status line: what is happening, and how to stop it."""
        clock, prefill = self._clock, self._clock.prefill
        elapsed = clock.elapsed
        if self._running is not None:
            name, started = self._running
            what, elapsed = f"running {name}", monotonic() - started
        elif clock.pieces:
            what = tokens(clock.pieces)
            rate = f" · {clock.rate:,.1f} tokens/s" if clock.rate else ""
            what = f"{'answering' if self._folded or not self._thoughts else 'thinking'} · {what}{rate}"
        elif elapsed > _LONG_PREFILL_SECONDS and prefill.total:
            what = f"prefilling {prefill.done:,} of {prefill.total:,} tokens"
        else:
            what = "prefilling"
        spinner = _SPINNER[self._frames % len(_SPINNER)] if self._unicode else "-\\|/"[self._frames % 4]
        line = f"{spinner} {what} · {duration(elapsed)} · Ctrl-C stops"
        return ["", *self._dim(line[:columns], columns)]

    def _dim(self, text: str, columns: int) -> list[str]:
        return self._lines(Text(text, style="dim"), columns)

    def _lines(self, text: Text, columns: int | None = None) -> list[str]:
        with self._console.capture() as capture:
            self._console.print(text, width=columns or self._area.columns)
        return capture.get().rstrip("\n").split("\n")


def _size(out: TextIO) -> tuple[int, int]:
    """Current columns and rows of the terminal."""
    try:
        size = os.get_terminal_size(out.fileno())
    except OSError:
        return 80, 24
    return size.columns or 80, size.lines or 24
