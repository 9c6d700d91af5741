"""`make picture`: docs/chat.svg, a real chat as a terminal shows it, and the same as text on stdout."""

import tempfile
import time
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

from tests.support.models import smollm2
from tests.support.terminal import Terminal

_TARGET = Path(__file__).parents[1] / "docs" / "chat.svg"
_COLUMNS, _ROWS = 92, 38
_MESSAGES = (
    "Give me three tips for staying healthy, as a short list.",
    "Why is the second one good for me? Answer in one sentence.",
    "/context",
)
_NAMES = {"brown": "yellow", "brightbrown": "bright_yellow"}  # pyte's names of colours, and rich's


def main() -> None:
    """Chat with SmolLM2 at temperature 0, and draw the screen."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("-m", smollm2(), "-t", 0, "-n", 120, "--ctx", 4096)
        with Terminal("chat", *options, cwd=Path(folder), columns=_COLUMNS, rows=_ROWS) as terminal:
            for message in _MESSAGES:
                terminal.wait(lambda _: "Smollm2 135M" in terminal.lines[-1])
                for key in message:
                    terminal.press(key)
                    terminal.settle(0.01)
                terminal.press("\r")
                time.sleep(0.2)
                terminal.wait(lambda _: "Ctrl-C stops" not in terminal.text)
                terminal.settle()
        _TARGET.parent.mkdir(exist_ok=True)
        _TARGET.write_text(_picture(terminal.screen), encoding="utf-8")
        print(terminal.text)


def _picture(screen: pyte.HistoryScreen) -> str:
    console = Console(record=True, width=_COLUMNS, file=Path("/dev/null").open("w", encoding="utf-8"))  # noqa: SIM115
    for row in range(_last_row(screen) + 1):
        line = Text()
        for column in range(_COLUMNS):
            cell = screen.buffer[row][column]
            line.append(cell.data, _style(cell))
        line.rstrip()
        console.print(line)
    return console.export_svg(title="ossctl chat")


def _style(cell: pyte.screens.Char) -> Style:
    return Style(
        color=_colour(cell.fg),
        bold=cell.bold,
        italic=cell.italics,
        underline=cell.underscore,
        reverse=cell.reverse,
    )


def _colour(name: str) -> str | None:
    if name == "default":
        return None
    if len(name) == 6 and all(digit in "0123456789abcdef" for digit in name):
        return f"#{name}"
    name = _NAMES.get(name, name)
    return name.replace("bright", "bright_") if name.startswith("bright") and "_" not in name else name


def _last_row(screen: pyte.HistoryScreen) -> int:
    return max(row for row, line in enumerate(screen.display) if line.strip())


if __name__ == "__main__":
    main()
