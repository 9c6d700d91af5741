"""Lays out the blocks of Markdown with all of their text, at any width."""

from collections.abc import Sequence
from typing import ClassVar, Self

from markdown_it.token import Token
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import (
    BlockQuote,
    CodeBlock,
    Heading,
    ListElement,
    ListItem,
    Markdown,
    MarkdownElement,
    TableElement,
)
from rich.segment import Segment
from rich.styled import Styled
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

CODE_THEME = "ansi_dark"
_LEAST_COLUMNS = 10  # of a nested block, which is not indented if it would have fewer
_LEAST_CELLS = 8  # of a table's column, margin included; with fewer, the rows are lines


class _Heading(Heading):
    """Left-aligned, and without a frame at the first level."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = self.text.copy()
        text.justify = "left"
        yield text


class _CodeBlock(CodeBlock):
    """In a list or a quotation: without its own background."""

    info = ""

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> Self:  # noqa: ARG003 (Rich's signature)
        block = cls((token.info.split() or ["text"])[0], CODE_THEME)
        block.info = token.info.strip()
        return block

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.info:
            yield Text(self.info, style="dim")
        code = str(self.text).rstrip()
        yield Syntax(code, self.lexer_name, theme=CODE_THEME, background_color="default", word_wrap=True)


class _Quote(BlockQuote):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        return _indented(console, options, Styled(self.elements, self.style), "▌ ", "▌ ")


class _Item(ListItem):
    """With the number that the model gave it."""

    mark = ""

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> Self:  # noqa: ARG003 (Rich's signature)
        item = cls()
        item.mark = f" {token.info} " if token.info else (" + " if token.markup == "+" else " • ")
        return item

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        return _indented(console, options, self.elements, self.mark, " " * len(self.mark))


class _List(ListElement):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.items


class _Table(TableElement):
    """Folds long words instead of cutting them. Where its columns do not fit, a row is a line."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        head, *body = self._rows()
        if len(head) * _LEAST_CELLS > options.max_width:
            yield from (Text(" | ").join(row) for row in (head, *body))
            return
        for table in super().__rich_console__(console, options):
            if isinstance(table, Table):
                for column in table.columns:
                    column.overflow = "fold"
            yield table

    def _rows(self) -> list[list[Text]]:
        head = self.header.row if self.header else None
        rows = [*([head] if head else []), *(self.body.rows if self.body else [])]
        return [[cell.content for cell in row.cells] for row in rows]


class MarkdownBlocks(Markdown):
    """Markdown as models write it: every line break counts, and a link shows where it leads."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "fence": _CodeBlock,
        "code_block": _CodeBlock,
        "blockquote_open": _Quote,
        "bullet_list_open": _List,
        "ordered_list_open": _List,
        "list_item_open": _Item,
        "table_open": _Table,
    }

    def __init__(self, tokens: Sequence[Token]) -> None:
        super().__init__("", code_theme=CODE_THEME, hyperlinks=False)  # not all terminals show them
        for child in (child for token in tokens for child in token.children or ()):
            if child.type == "softbreak":
                child.type = "hardbreak"
            elif child.type == "link_open" and child.attrs.get("title"):
                child.attrs["href"] = f'{child.attrs["href"]} "{child.attrs["title"]}"'
        self.parsed = [*tokens]


def _indented(
    console: Console, options: ConsoleOptions, content: RenderableType, first: str, rest: str
) -> RenderResult:
    """`content` behind a mark, or below it where the line is too short for both."""
    width = options.max_width - len(first)
    if width < _LEAST_COLUMNS:
        yield Segment(f"{first.strip()}\n")
        yield content
        return
    lines = console.render_lines(content, options.update(width=width)) or [[]]
    for number, line in enumerate(lines):
        yield Segment(rest if number else first)
        yield from line
        yield Segment.line()
