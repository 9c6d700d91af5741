"""Renders Markdown while it grows: finished blocks once, and only the open one again.

A block can change until the next one starts, so the last block is open. In a list only its last item is open,
and in a code block only its last line.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

from ossctl.text import harmless

# Colours of the terminal's own palette, which is readable on its background.
THEME = Theme(
    {
        "markdown.h1": "bold underline",
        "markdown.h2": "bold underline",
        "markdown.h3": "bold",
        "markdown.h4": "bold",
        "markdown.code": "cyan",
        "markdown.code_block": "none",
        "markdown.item.number": "none",
        "markdown.link_url": "underline",
    }
)
_CODE_THEME = "ansi_dark"
_CONTEXT_LINES = 20  # of code that the highlighting of the next line may depend on

_FENCE = re.compile(r"(?P<indent> {0,3})(?P<marks>`{3,}|~{3,})(?P<info>[^\n]*)")
_END_OF_LINE = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$")
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
_FENCED = "fence"
_LISTS = ("bullet_list_open", "ordered_list_open")


class _Heading(Heading):
    """Left-aligned, and without a frame at the first level."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = self.text.copy()
        text.justify = "left"
        yield text


class _CodeBlock(CodeBlock):
    """In a list or a quotation: without its own background."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip()
        yield Syntax(code, self.lexer_name, theme=_CODE_THEME, background_color="default", word_wrap=True)


class _Markdown(Markdown):
    """Markdown as models write it: every line break counts, and HTML is text."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "fence": _CodeBlock,
        "code_block": _CodeBlock,
    }

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__("", code_theme=_CODE_THEME, hyperlinks=False)  # not all terminals show them
        for token in tokens:
            for child in token.children or ():
                if child.type == "softbreak":
                    child.type = "hardbreak"
        self.parsed = tokens


@dataclass(frozen=True)
class _Block:
    """Lines `start` to `end`, exclusive. A list item is a block of the list's kind."""

    kind: str
    start: int
    end: int


@dataclass
class _Code:
    """An open code block: the pattern of its closing fence, and its latest lines."""

    closing: re.Pattern[str]
    indent: int
    language: str
    context: list[str]


class MarkdownStream:
    """Turns the pieces of an answer into lines with escape sequences."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
        self._source = ""  # of the unfinished blocks
        self._code: _Code | None = None
        self._begun = False  # whether an empty line goes before the next block
        self._list = ""  # the kind of the latest block

    def feed(self, text: str) -> None:
        """Add a piece of the answer."""
        self._source += harmless(text).replace("\t", "    ")

    def take(self, columns: int, *, closed: bool = False) -> tuple[list[str], list[str]]:
        """(lines finished since the last call, open lines). With `closed`, no line stays open."""
        finished: list[str] = []
        while True:
            before = len(self._source)
            if self._code is not None:
                finished += self._code_lines(self._code, closed=closed)
            else:
                finished += self._blocks(columns, closed=closed)
            if len(self._source) == before or not self._source:
                break
        return finished, ([] if closed else self._open(columns))

    def _blocks(self, columns: int, *, closed: bool) -> list[str]:
        """Render the finished blocks, up to a code block."""
        lines = self._source.splitlines(keepends=True)
        finished: list[str] = []
        for block in self._ends(lines, closed=closed):
            if block.kind == _FENCED:
                self._source = "".join(lines[block.start :])
                return [*finished, *self._begin_code()]
            finished += self._apart(block.kind)
            self._begun, self._list = True, block.kind
            finished += self._rendered("".join(lines[block.start : block.end]), columns)
            self._source = "".join(lines[block.end :])
        return finished

    def _ends(self, lines: Sequence[str], *, closed: bool) -> list[_Block]:
        """The finished blocks. A code block counts once its first line is complete."""
        tokens = self._parser.parse(self._source)
        blocks: list[_Block] = []
        top = [token for token in tokens if token.level == 0 and token.nesting >= 0 and token.map]
        for token in top:
            start, end = token.map or (0, 0)
            is_open = token is top[-1] and not closed
            if token.type == _FENCED:
                if lines[start].endswith("\n") or closed:
                    blocks.append(_Block(token.type, start, end))
                break
            if token.type in _LISTS:
                items = _items(tokens, token)
                blocks += [_Block(token.type, *item) for item in (items[:-1] if is_open else items)]
            elif not is_open:
                blocks.append(_Block(token.type, start, end))
        return blocks

    def _open(self, columns: int) -> list[str]:
        if self._code is not None:
            return [self._plain(self._source, columns)] if self._source else []
        if not self._source.strip():
            return []
        tokens = self._parser.parse(self._source)
        return [*self._apart(tokens[0].type if tokens else ""), *self._rendered(self._source, columns)]

    def _apart(self, kind: str) -> list[str]:
        """The empty line before a block of this kind, if it needs one."""
        return [""] if self._begun and not (kind in _LISTS and kind == self._list) else []

    def _rendered(self, text: str, columns: int) -> list[str]:
        markdown = _Markdown(self._parser.parse(text))
        with self._console.capture() as capture:
            self._console.print(markdown, width=columns)
        lines = [_END_OF_LINE.sub(r"\1", line) for line in capture.get().split("\n")]
        full = [n for n, line in enumerate(lines) if _ESCAPE.sub("", line).strip()]
        return lines[full[0] : full[-1] + 1] if full else []

    def _begin_code(self) -> list[str]:
        first, _, self._source = self._source.partition("\n")
        match = _FENCE.match(first)
        if match is None:  # in another block: shown as text
            return [*self._apart(""), first]
        marks = match["marks"]
        closing = re.compile(rf" {{0,3}}{re.escape(marks[0])}{{{len(marks)},}}[ \t]*")
        language = (match["info"].split() or [""])[0]
        self._code = _Code(closing, len(match["indent"]), language, [])
        apart = self._apart(_FENCED)
        self._begun, self._list = True, ""
        return [*apart, self._dim(f"{marks[:3]}{language}")]

    def _code_lines(self, code: _Code, *, closed: bool) -> list[str]:
        """The complete lines, highlighted, up to the closing fence."""
        lines: list[str] = []
        ended = False
        while self._source and not ended:
            line, newline, rest = self._source.partition("\n")
            if not newline and not closed:
                break
            self._source = rest
            ended = code.closing.fullmatch(line) is not None
            if not ended:
                indent = min(code.indent, len(line) - len(line.lstrip(" ")))
                lines.append(line[indent:])
        shown = self._highlighted(code, lines)
        if ended or (closed and not self._source):
            self._code = None
            self._source = self._source.lstrip("\n")
            shown.append(self._dim("```"))
        return shown

    def _highlighted(self, code: _Code, lines: Sequence[str]) -> list[str]:
        if not lines:
            return []
        known = [*code.context, *lines]
        code.context = known[-_CONTEXT_LINES:]
        if not code.language:
            return list(lines)
        syntax = Syntax("", code.language, theme=_CODE_THEME, background_color="default")
        text = syntax.highlight("".join(f"{line}\n" for line in known))
        return [self._ansi(line) for line in text.split("\n", allow_blank=True)[-len(lines) - 1 : -1]]

    def _ansi(self, text: Text) -> str:
        """A line of any length. The terminal wraps it, so that it is copied as one line."""
        text.rstrip()
        with self._console.capture() as capture:
            self._console.print(text, soft_wrap=True, end="")
        return capture.get()

    def _plain(self, text: str, columns: int) -> str:
        line = Text(text)
        line.truncate(columns)
        return self._ansi(line)

    def _dim(self, text: str) -> str:
        return self._ansi(Text(text, style="dim"))


def _items(tokens: Sequence[Token], parent: Token) -> list[tuple[int, int]]:
    """(start, end) lines of a list's items, end exclusive."""
    start, end = parent.map or (0, 0)
    starts = [
        token.map[0]
        for token in tokens
        if token.type == "list_item_open" and token.level == 1 and token.map and start <= token.map[0] < end
    ]
    return list(zip(starts, [*starts[1:], end], strict=True))
