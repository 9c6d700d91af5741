"""The view of an answer, on the screen of an emulated terminal."""

import io
import json
import os
import random
from collections.abc import Iterator

import pyte
import pytest

from ossctl.app.chat.events import Answered, ChatEvent, Prefilling, ToolRan, ToolRunning
from ossctl.app.inference.finish import AnswerFinish
from ossctl.app.tools.source import ToolOutcome
from ossctl.dialect import Answer, Reasoning, ToolCall
from ossctl.repl import rich_view
from ossctl.repl.rich_view import RichView
from ossctl.repl.screen import LiveArea
from ossctl.repl.view import PlainView, ShowReasoning

ANSWER = """# A title

Some **bold** text with `code`, a [link](http://example.org) and <b>tags</b>,
in two lines, with 漢字 and emoji 🎉.

- first
- second, which is so long that it has to be broken somewhere on a narrow screen, certainly
    - nested
- third

1. one
2. two

```python
def fib(n: int) -> int:
    \"\"\"A docstring.\"\"\"
    return n if n < 2 else fib(n - 1) + fib(n - 2)


print(fib(10))
```

| a | b |
|---|---|
| 1 | 漢 |
| 2 | x |

> quoted

The end.
"""
DONE = Answered(AnswerFinish.STOP, 10, 0, 100, 0, 1, 0.1, 1.0, 0.9)


class Screen(io.StringIO):
    """A terminal that shows what is written at once."""

    encoding = "utf-8"

    def __init__(self, columns: int, rows: int) -> None:
        super().__init__()
        self.screen = pyte.HistoryScreen(columns, rows, history=10_000)
        self.screen.set_mode(pyte.modes.LNM)  # "\\n" is a new line, as a terminal driver makes it
        self._stream = pyte.Stream(self.screen)

    def write(self, text: str) -> int:
        self._stream.feed(text)
        return super().write(text)

    @property
    def text(self) -> str:
        columns = range(self.screen.columns)
        above = ["".join(line[x].data for x in columns) for line in self.screen.history.top]
        return "\n".join(line.rstrip() for line in [*above, *self.screen.display]).rstrip()


@pytest.fixture(params=[(40, 12), (80, 24), (200, 50)], ids=["40 columns", "80 columns", "200 columns"])
def screen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Screen:
    opened = Screen(*request.param)
    monkeypatch.setattr(rich_view, "_size", lambda _: (opened.screen.columns, opened.screen.lines))
    return opened


def pieces(text: str, seed: int) -> Iterator[str]:
    """`text` cut at random."""
    generator = random.Random(seed)
    while text:
        size = generator.randint(1, 12)
        yield text[:size]
        text = text[size:]


def shown(screen: Screen, events: list[ChatEvent], reasoning: ShowReasoning = "fold") -> str:
    """What is on the terminal after those events, every one of which was drawn."""
    view = RichView(screen, reasoning)
    view.begin()
    for event in events:
        view._next_frame = 0
        view.take(event)
    view.end()
    return screen.text


@pytest.mark.parametrize("seed", range(2))
def test_an_answer_in_pieces_looks_like_one_that_came_at_once(screen: Screen, seed: int) -> None:
    text = shown(screen, [*(Answer(piece) for piece in pieces(ANSWER, seed)), DONE])
    whole = Screen(screen.screen.columns, screen.screen.lines)
    assert text == shown(whole, [Answer(ANSWER), DONE])
    parts = ("bold", "tags</b>", "漢字", "• first", "1 one", "def fib(n: int) -> int:", "quoted", "The end.")
    assert all(part in text for part in parts)
    assert "**" not in text
    assert "answering" not in text  # the status is gone


def test_nothing_is_written_twice_to_what_has_scrolled_away(screen: Screen) -> None:
    lines = [f"Paragraph {n} of a long answer." for n in range(200)]
    text = shown(screen, [Answer(f"{line}\n\n") for line in lines])
    assert [line for line in text.splitlines() if line] == lines


def test_a_block_of_code_longer_than_the_screen_comes_out_line_by_line(screen: Screen) -> None:
    view = RichView(screen)
    view.begin()
    lines = [f"x{n} = {n}" for n in range(120)]
    view.take(Answer("```python\n"))
    for n, line in enumerate(lines):
        view._next_frame = 0
        view.take(Answer(f"{line}\n"))
        assert f"x{n} = {n}" in screen.text
    view.take(Answer("```\n\nDone."))
    view.end()
    assert [line for line in screen.text.splitlines() if line.startswith("x")] == lines


def test_a_table_taller_than_the_screen_is_whole_in_the_end(screen: Screen) -> None:
    rows = "".join(f"| {n} | row{n} |\n" for n in range(60))
    table = f"| n | name |\n|---|---|\n{rows}\nEnd."
    text = shown(screen, [Answer(line) for line in table.splitlines(keepends=True)])
    assert [text.split().count(f"row{n}") for n in range(60)] == [1] * 60


@pytest.mark.parametrize("seed", range(2))
def test_a_resize_in_the_middle_leaves_nothing_behind_of_what_was_open(screen: Screen, seed: int) -> None:
    generator = random.Random(seed)
    words = [f"w{n:03}x" for n in range(300)]
    view = RichView(screen)
    view.begin()
    for n, word in enumerate(words):
        if n % 40 == 20:  # this terminal cuts lines off that are too long now, and loses the rest
            screen.screen.resize(columns=generator.randint(30, 120))
        view._next_frame = 0
        view.take(Answer(f"{word}{chr(10) * 2 if n % 10 == 9 else ' '}"))
    view.end()
    assert "answering" not in screen.text
    assert [screen.text.split().count(word) for word in words[270:]] == [1] * 30
    assert max(screen.text.split().count(word) for word in words) == 1


@pytest.mark.parametrize("mode", ["show", "fold", "hide"])
def test_reasoning_is_shown_folded_or_hidden(screen: Screen, mode: ShowReasoning) -> None:
    thoughts: list[ChatEvent] = [Reasoning(f"thought number {n}\n") for n in range(60)]
    text = shown(screen, [*thoughts, Answer("The answer."), DONE], mode)
    assert ("thought number 3\n" in text) == (mode == "show")
    assert ("thought for" in text) == (mode != "hide")
    assert text.endswith("The answer.")


def test_reasoning_is_seen_while_it_goes_on(screen: Screen) -> None:
    view = RichView(screen)
    view.begin()
    for n in range(60):
        view._next_frame = 0
        view.take(Reasoning(f"thought number {n}\n"))
    assert "thought number 59" in screen.text
    assert "thinking" in screen.text
    assert len([line for line in screen.text.splitlines() if line.startswith("thought")]) <= 6


def test_calls_of_tools_are_a_block(screen: Screen) -> None:
    call = ToolCall("weather", '{"city": "Paris"}')
    ran = ToolRan(ToolOutcome(call, "21 °C", ok=True))
    text = shown(screen, [Answer("I look it up."), call, ran, Answer("It is warm."), DONE])
    assert '● weather({"city": "Paris"})\n  → 21 °C\n\nIt is warm.' in text


def test_a_program_that_a_model_writes_is_shown_by_lines_and_a_long_one_is_folded(screen: Screen) -> None:
    code = "\n".join(f"x{n} = {n}" for n in range(30))
    call = ToolCall("python", json.dumps({"code": code}))
    ran = ToolRan(ToolOutcome(call, "29", ok=True))
    text = shown(screen, [call, ran, Answer("It is 29."), DONE])
    assert "● python\n  x0 = 0\n  x1 = 1\n" in text
    assert "  x11 = 11\n  … 18 more lines\n  → 29\n" in text


def test_a_tool_that_runs_is_named_until_it_ends(screen: Screen) -> None:
    view = RichView(screen)
    view.begin()
    call = ToolCall("weather", "{}")
    view.take(call)
    for _ in range(2):
        view._next_frame = 0
        view.take(ToolRunning(call))
    assert "running weather" in screen.text
    view._next_frame = 0
    view.take(ToolRan(ToolOutcome(call, "21 °C", ok=True)))
    assert "running weather" not in screen.text


def test_a_long_prompt_shows_how_far_it_is(screen: Screen) -> None:
    view = RichView(screen)
    view.begin()
    view._clock._began -= 5
    view.take(Prefilling(2_048, 12_000))
    assert "prefilling 2,048 of 12,000 tokens" in screen.text


def test_what_a_model_says_cannot_move_the_cursor_or_colour_the_screen(screen: Screen) -> None:
    shown(screen, [Answer("a\x1b[2Jb\x1b]0;title\x07c\r\n\n```\nx\x1b[31my\n```\n"), DONE])
    assert screen.screen.title == ""
    assert "a\ufffd[2Jb" in screen.text
    assert "x\ufffd[31my" in screen.text


def test_only_lines_that_differ_are_written_again() -> None:
    out = io.StringIO()
    area = LiveArea(out, 80, 24)
    area.draw([], ["one", "two", "three"])
    out.truncate(0)
    area.draw([], ["one", "TWO", "three"])
    assert "TWO" in out.getvalue()
    assert "one" not in out.getvalue()
    out.truncate(0)
    area.draw([], ["one", "TWO", "three"])
    assert not out.getvalue().strip("\0")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "written"),
    [(io.StringIO, "**Yes**\r\n\x0c, it is.\x1b[2J\n"), (Terminal, "**Yes**\n\n, it is.\ufffd[2J\n")],
    ids=["pipe", "terminal"],
)
def test_plain_text_is_written_as_it_comes(stream: type[io.StringIO], written: str) -> None:
    out, aside = stream(), io.StringIO()
    view = PlainView(out, aside)
    view.begin()
    for event in (Reasoning("Hm."), Answer("**Yes**\r"), Answer("\n\x0c, it is.\x1b[2J"), DONE):
        view.take(event)
    view.end()
    assert out.getvalue() == written
    assert aside.getvalue().startswith("(thought for")


@pytest.fixture(autouse=True)
def _known_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name in ("TMUX", "VTE_VERSION", "TERM_PROGRAM", "NO_COLOR"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TERM", "xterm-256color")
