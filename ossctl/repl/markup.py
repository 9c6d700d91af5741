"""Decides which characters of an answer are Markdown markup, and which belong to its text.

Models put formulas, paths, products, HTML and escapes into their Markdown. CommonMark takes characters out
of these, so that the user would read another formula or path. Here they are protected: until the text is
restored, each ASCII punctuation character is one of Unicode's 32 noncharacters, which no parser interprets.
"""

import re
from collections.abc import Iterator, Sequence
from string import punctuation

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline, emphasis
from markdown_it.token import Token

_NONCHARACTERS = "".join(map(chr, range(0xFDD0, 0xFDF0)))
_PROTECT = str.maketrans(punctuation, _NONCHARACTERS)
_RESTORE = str.maketrans(_NONCHARACTERS, punctuation)
_REPLACE = dict.fromkeys(map(ord, _NONCHARACTERS), "\ufffd")

_PART = r"(?:(?!\n[ \t>]*\n).)"  # of a formula: it has no empty line, as in LaTeX
_CODE_OR_LITERAL = re.compile(
    rf"""
    (?P<code> (?<!`) (?P<ticks>`+) (?!`) [^\n]+? (?<!`) (?P=ticks) (?!`) )
    | (?P<escape> \\[*_`~|<>$] | ^[ \t>]*\d*\\[-+.\#] )
    | \\\( {_PART}{{0,2000}}? \\\)
    | \\\[ {_PART}{{0,5000}}? (?: \\\] | \Z )
    | \\begin\{{(?P<environment>\w+\*?)\}} {_PART}{{0,5000}}? (?: \\end\{{(?P=environment)\}} | \Z )
    | \$\$ {_PART}{{0,5000}}? (?: \$\$ | \Z )
    | (?<!\w) \$ (?=[^\s$]) [^$\n]*? (?<=[^\s\\]) \$ (?![\w$])
    | (?<!\w) \w{{1,20}}:// [^\s<>()\[\]|`*~]* (?<![_.,:;!?'"])
    | (?<!\w) [A-Za-z]:\\\S+ | (?<!\S) \\\\\w\S+
    | \\ (?: \\ | [^\w\s] | \n )
    | & (?=\#?\w{{1,32}};)
    | (?<!\w) __\w+__ (?!\w)
    | \*\*/\S{{0,200}}/\*\* (?!\w)
    | (?<![\w*]) \*{{1,2}} (?:kw)?args\b (?!\*)
    | </?[A-Za-z][\w-]* (?: \s+[\w:@.-]+ (?: = (?: "[^"\n]*" | '[^'\n]*' | [^\s"'<>`]+ ))? )* \s*/?>
    | <!-- .{{0,2000}}? -->
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_PROTECTED_PIPE = "|".translate(_PROTECT)
_MAX_NESTING = 40  # levels of tokens; a parser drops what is nested deeper
_PIPE = re.compile(r"(?<!\\)\|")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_MAY_HOLD_CODE = re.compile(r"`{3}|~{3}|^[ >]*    ", re.MULTILINE)
_MAY_HOLD_TABLE = re.compile(r"^[ \t>]*[|:-][ :|-]*$", re.MULTILINE)

# Where a run of asterisks or underscores is no emphasis, although CommonMark says so.
_ONE, _MORE = "\x00", "\x01"  # stand for the run
_NO_OPENING = re.compile(r"[A-Za-z0-9)\]}/\\@$][\x00\x01]|\.\x00|\d +\x00\d|\x00[.,;:)\]}/|]")
_NO_CLOSING = re.compile(
    r"[\x00\x01]\d|/\x01/|\x01(?!s\b)[A-Za-z]|(?<![A-Za-z\x80-\U0010ffff]{2})\x01[s(]"
    r"|\x00[A-Za-z(\[{/]|[/(\[{]\x00|\x00\.\w|\d\x00 +\d"
)


class _Parser(MarkdownIt):
    """Keeps addresses as they are."""

    def normalizeLink(self, url: str) -> str:  # noqa: N802 (markdown-it's name)
        return url

    def normalizeLinkText(self, link: str) -> str:  # noqa: N802
        return link


def new_parser() -> MarkdownIt:
    """A parser of the Markdown that models write. HTML, images and link definitions are text."""
    parser = _Parser("commonmark", {"html": False, "maxNesting": _MAX_NESTING})
    parser.enable(["strikethrough", "table"])
    parser.disable(["reference", "lheading", "image", "autolink"])
    parser.inline.ruler.at("emphasis", _emphasis)
    return parser


def new_block_parser() -> MarkdownIt:
    """Like `new_parser`, for the lines of the blocks only, which is faster."""
    return new_parser().disable("inline")


def lines_of(text: str) -> list[str]:
    """The lines as a Markdown parser counts them, with their newlines."""
    return _LINE.findall(text)


class Markup:
    """Protects what is no markup."""

    def __init__(self) -> None:
        self._blocks = new_block_parser()

    def protect(self, source: str) -> str:
        """Protect formulas, addresses, escapes and HTML outside of code, and the surplus cells of tables."""
        parts = (
            text if is_code else _CODE_OR_LITERAL.sub(_protected, text)
            for is_code, text in self._parts(source)
        )
        text = "".join(parts)
        return self._without_surplus(text) if _MAY_HOLD_TABLE.search(text) else text

    def _parts(self, source: str) -> Iterator[tuple[bool, str]]:
        """(whether it is a block of code, text) of each part of `source`."""
        if not _MAY_HOLD_CODE.search(source):
            yield False, source
            return
        lines = lines_of(source)
        done = 0
        for token in self._blocks.parse(source):
            if token.type in ("fence", "code_block") and token.map:
                start, end = token.map
                yield False, "".join(lines[done:start])
                yield True, "".join(lines[start:end])
                done = end
        yield False, "".join(lines[done:])

    def _without_surplus(self, text: str) -> str:
        """Protect the separators of cells that the header has no column for: they stay in its last column."""
        lines = lines_of(text)
        columns = 0
        for token in self._blocks.parse(text):
            if token.type == "table_open":
                columns = 0
            elif token.type == "th_open":
                columns += 1
            elif token.type == "tr_open" and token.map and columns:
                row = token.map[0]
                lines[row] = _merged(lines[row], columns)
        return "".join(lines)


def is_too_deep(tokens: Sequence[Token]) -> bool:
    """Whether the parser may have dropped text that is nested too deeply."""
    return any(token.level >= _MAX_NESTING - 1 for token in tokens)


def replaced(text: str) -> str:
    """Replace noncharacters, which texts do not have, by U+FFFD."""
    return text.translate(_REPLACE)


def restore(text: str) -> str:
    """Undo `protect`."""
    return text.translate(_RESTORE)


def restore_tokens(tokens: list[Token]) -> None:
    """Undo `protect` in what the parser made of a protected text."""
    for token in tokens:
        token.content = restore(token.content)
        token.info = restore(token.info)
        token.attrs = {
            name: restore(value) if isinstance(value, str) else value for name, value in token.attrs.items()
        }
        restore_tokens(token.children or [])


def _protected(match: re.Match[str]) -> str:
    if match["escape"]:
        return match[0]
    if match["code"]:
        return _PIPE.sub(_PROTECTED_PIPE, match[0])
    first, *rest = match[0].split("\n")
    before = match.string[match.string.rfind("\n", 0, match.start()) + 1 : match.start()]
    if not rest or before.strip(" \t>"):
        return match[0].translate(_PROTECT)
    # in a quotation, its marks are no part of the formula
    marks = re.compile(rf"(?:[ \t]*>){{{before.count('>')}}}")
    ends = [found.end() if (found := marks.match(line)) else 0 for line in rest]
    inside = [line[:end] + line[end:].translate(_PROTECT) for line, end in zip(rest, ends, strict=True)]
    return "\n".join([first.translate(_PROTECT), *inside])


def _merged(row: str, columns: int) -> str:
    separators = [found.start() for found in _PIPE.finditer(row)]
    if separators and not row[: separators[0]].strip(" >"):
        del separators[0]
    if separators and not row[separators[-1] + 1 :].strip():
        del separators[-1]
    for at in separators[columns - 1 :]:
        row = f"{row[:at]}{_PROTECTED_PIPE}{row[at + 1 :]}"
    return row


def _emphasis(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 (markdown-it's signature)
    """Apply markdown-it's rule, except in products, paths and patterns of file names."""
    start = state.pos
    known = len(state.delimiters)
    if not emphasis.tokenize(state, silent):
        return False
    before, after = state.src[max(0, start - 8) : start], state.src[state.pos : state.pos + 8]
    window = restore(f"{before}{_ONE if state.pos == start + 1 else _MORE}{after}")
    for delimiter in state.delimiters[known:]:
        delimiter.open = delimiter.open and not _NO_OPENING.search(window)
        delimiter.close = delimiter.close and not _NO_CLOSING.search(window)
    return True
