"""What the user reads of an answer: everything that the model wrote, but for markup."""

import io
import re
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ossctl.repl.markdown import THEME, MarkdownStream


def shown(pieces: Iterator[str] | list[str], columns: int = 120) -> str:
    console = Console(file=io.StringIO(), width=columns, theme=THEME, force_terminal=True, color_system=None)
    stream = MarkdownStream(console)
    lines: list[str] = []
    for piece in pieces:
        stream.feed(piece)
        lines += stream.take(columns)[0]
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join([*lines, *stream.take(columns, closed=True)[0]]))


@pytest.mark.parametrize(
    "text",
    [
        r"2*3*4 = 24, \(x\) and \[y\], f\,x, \{1,2\}",
        "100*100/400*56",
        "x**2 + y**2 = z**2, 2**3**4 and 2 *3* 4",
        "a*b*c, f(a)*g(b)*h(c), (1)*(2)*(3) and 2*(3+4)*5",
        "*.py, *.txt, **/*.py, src/**/*.ts, **/node_modules/** and lib/*/test/*",
        "/* one */ f(); /* two */",
        "def f(*args, **kwargs) is called as f(*a, **k), *args too, but x**y(z**(2)",
        "Note: x**y**z",
        "__init__ and __main__.py, snake_case_names",
        r"a\;b\!c\:d\\e, \{x\}, \%, \&, \"quoted\", \d+\.\d*",
        r"C:\*.txt, C:\_new\[1] and \\server\_share\#1",
        "[1]: https://a.example",
        '[docs][1] and [2]\n\n[1]: https://a.example/_x_\n[2]: <https://b.example> "Title"',
        "https://a.example/*x*/_y_?a=1&copy;=2 and <https://b.example/ä>",
        '<b class="x">bold</b> and <br>, <!-- a *comment* -->, &amp; &lt;b&gt; &#42; &nbsp;',
        "[^1]: a footnote\n\n:::note\n\n{{ a }} {% b %} ==c== @d #e ^f^ H~2~O",
        "Title\n===\n\nx\n-\ny",
        "costs $5 and $10, $HOME/bin:$PATH, US$5",
        "$x_1*y*z_2$, $a\\_b$ and $$c*d*e$$",
        "\\(a_1*b*c_1\\), \\[ \\{x\\} * [y](z) * w \\]",
        "\\[\nx\n=\ny\n- z\n+ 1\n# w\n> v\n| a |\n|---|\n\\]",
        "$$\n\\begin{aligned}\na &= b * c * d \\\\\n- e &= `f`\n\\end{aligned}\n$$",
        "\\begin{cases}\n- x & *y*\n\\end{cases}",
        "cut off: \\[ a*b*c",
        "a\\\nb",
    ],
)
def test_what_is_no_markup_is_shown_as_it_was_written(text: str) -> None:
    assert shown([text]) == text
    assert shown([*text]) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**Step 1:** *a*, **API**s, _b_, ~~c~~, `d*e*f`", "Step 1: a, APIs, b, c, d*e*f"),
        ("**Note: x**y is a power**", "Note: x**y is a power"),
        ("**src/**, **/etc**, __two words__", "src/, /etc, two words"),
        ("这是**重点**内容", "这是重点内容"),
        (r"\*a\* \_b\_ \`c\` \$5", "*a* _b_ `c` $5"),
        ('[a](https://例.example/ä "T") and ![b](c.png)', 'a (https://例.example/ä "T") and !b (c.png)'),
        ("3. a\n7. b\n   1. c\n   9. d", " 3 a\n 7 b\n    1 c\n    9 d"),
        ("- a\n- \n+ 5", " • a\n •\n + 5"),
        ("> $$\n> - x\n> = y\n> $$", "▌ $$\n▌ - x\n▌ = y\n▌ $$"),
        ("- a\n  ```sh title=x\n  b\n  ```", " • a\n   sh title=x\n   b"),
        ("~~~~ py title=x\na\n~~~\n~~~~~", "~~~~ py title=x\na\n~~~\n~~~~~"),
        ("`$A` *and* `$B`", "$A and $B"),
        ("one\u2028two\n\nthree\n\nfour", "one\u2028two\n\nthree\n\nfour"),
        ("a\r\n\r\nb\r\n\x0cc", "a\n\nb\n\nc"),
    ],
)  # fmt: skip
def test_markup_is_styled_and_the_rest_of_the_text_stays(text: str, expected: str) -> None:
    assert shown([text]) == expected
    assert shown([*text]) == expected


@pytest.mark.parametrize("columns", [20, 40, 80])
@pytest.mark.parametrize(
    "row",
    ["| a | b | surplus |", "| `x|y` | b |", "| $|x|$ | b |", r"| x \| y | b |", f"| {'long' * 30} | b |"],
)
def test_a_row_of_a_table_loses_nothing(row: str, columns: int) -> None:
    text = shown([f"| one | two |\n|---|---|\n{row}\n"], columns)
    assert not Counter(re.sub(r"[\s|\\`]", "", row)) - Counter(text)


def test_a_table_with_more_columns_than_fit_is_shown_line_by_line() -> None:
    cells = [f"cell{n}" for n in range(30)]
    text = shown([f"|{'|'.join(cells)}|\n|{'---|' * 30}\n|{'|'.join(cells)}|\n"], 40)
    assert all(text.count(cell) >= 2 for cell in cells)


def test_deep_nesting_on_a_narrow_screen_loses_nothing() -> None:
    for levels in (10, 19, 100):
        text = shown(
            ["".join(f"{'  ' * n}- level{n}\n" for n in range(levels)), "\n", "> " * levels, "quoted"], 20
        )
        assert all(f"level{n}" in text.split() for n in range(levels))
        assert "quoted" in text


# The only markers that may vanish from the screen: a style, a mark or a frame is shown instead.
STYLED_AWAY = {
    "emphasis": ("*", "_"),
    "strong": ("**",),
    "strikethrough": ("~~",),
    "code": ("`", "``"),
    "heading": ("# ", "### "),
    "bullet": ("- ", "* "),
    "end of a number": (". ", ") "),
    "quote": ("> ",),
    "table": ("|", "|:---"),
    "link": ("[", "](", ")"),
    "escape": ("\\",),
    "rule": ("---", "***"),
    "fence in a list or quotation": ("```", "~~~~"),
}

# A text as the model writes it, and the part of it that must be on the screen.
Written = tuple[str, str]


def plain(text: str) -> Written:
    return text, text


def marked(name: str, number: int = 0) -> Written:
    return STYLED_AWAY[name][number], ""


def joined(*parts: Written) -> Written:
    return "".join(text for text, _ in parts), "".join(visible for _, visible in parts)


def around(name: str) -> st.SearchStrategy[Written]:
    """Words between two equal markers."""
    numbers = st.sampled_from(range(len(STYLED_AWAY[name])))
    return st.builds(lambda n, text: joined(marked(name, n), plain(text), marked(name, n)), numbers, WORDS)


WORDS = st.lists(
    st.text("abcXYZ0123456789äß漢字éя🎉", min_size=1, max_size=8), min_size=1, max_size=3
).map(" ".join)  # fmt: skip
OPERAND = st.sampled_from(["2", "x", "10.5", "f(x)", "(a+b)", "y_1", "n"])
PRODUCT = st.lists(OPERAND, min_size=2, max_size=5).flatmap(
    lambda operands: st.sampled_from([sign.join(operands) for sign in ("*", "**", " * ", "/", " - ")])
)
FORMULA = st.sampled_from(
    [
        r"x_1*y*z_2", r"\frac{a}{b}\,c", r"|x|", r"\{1,2\}", r"a_{i} < b^{*} & c > d", r"[a](b) * c*d*e",
        r"\mathbf{x}_*",
    ]
)  # fmt: skip
MATH = st.builds(
    lambda ends, inner: plain(f"{ends[0]}{inner}{ends[1]}"),
    st.sampled_from([("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("$$", "$$")]),
    FORMULA,
)
LITERAL = st.sampled_from(
    [
        "<br>", '<a href="x_y_z" id=*>', "</div>", "<!-- *a* -->", "&amp;", "&#42;", "&copy;", "[1]",
        "[a][b]",
        "[^1]", "__init__", "__main__.py", "snake_case_name", "**/*.py", "src/*/a/*", "*.txt", "/* c */",
        "*args, **kwargs", r"C:\*.txt", r"\\host\_x_\y", "https://a.example/_x_/*y*?q=1&copy=2",
        "<https://b.example/_a_>", r"\d+\.\w", r"\;", r"\!", r"\,", r"\\", r"\%", "a < b > c", "$5", "~",
        "a|b",
        ":::", "{{ x }}", "==x==", "^2^", "!", "#x",
    ]
).map(plain)  # fmt: skip
ESCAPE = st.sampled_from("*_`~<>$").map(lambda mark: joined(marked("escape"), plain(mark)))
LINK = st.builds(
    lambda text, address: joined(
        marked("link"), plain(text), marked("link", 1), plain(address), marked("link", 2)
    ),
    WORDS,
    st.sampled_from(["https://a.example/x_y_z", "b.md", 'https://b.example/ä?x=1&lt=2 "Title"']),
)
INLINE = st.one_of(
    WORDS.map(plain), PRODUCT.map(plain), MATH, LITERAL, ESCAPE, LINK,
    around("emphasis"), around("strong"), around("strikethrough"), around("code"),
)  # fmt: skip
LINE = st.lists(INLINE, min_size=1, max_size=5).map(
    lambda parts: joined(plain("so "), *(part for each in parts for part in (each, plain(" "))), plain("w"))
)
CODE = st.sampled_from(
    [
        "x = 2 * 3 ** 4", "# a *comment*", "if a < b and c > d:", "", "    return `x`", "$ echo $A \\",
        "<b>&amp;</b>",
        "[1]: x",
    ]
)  # fmt: skip
LANGUAGE = st.sampled_from(
    ["", "python", "sh", "console", "html", "latex", "json", "diff", "unknown title=x"]
)


def code_block(language: str, lines: list[str], fence: int, *, nested: bool) -> Written:
    mark = STYLED_AWAY["fence in a list or quotation"][fence]
    marks = joined((mark, "")) if nested else plain(mark)
    return joined(marks, plain(f"{language}\n"), *(plain(f"{line}\n") for line in lines), marks)


def table(rows: list[list[Written]]) -> Written:
    bar, newline = marked("table"), plain("\n")
    lines = [joined(bar, *(part for cell in row for part in (cell, bar))) for row in rows]
    delimiter = (STYLED_AWAY["table"][1] * len(rows[0]), "")
    return joined(lines[0], newline, delimiter, *(part for line in lines[1:] for part in (newline, line)))


def prefixed(block: Written, first: Written, rest: str) -> Written:
    return joined(first, (block[0].replace("\n", f"\n{rest}"), block[1]))


CELL = st.one_of(WORDS, PRODUCT).map(plain) | around("emphasis") | around("code")
PARAGRAPH = st.lists(LINE, min_size=1, max_size=3).map(
    lambda lines: joined(*(part for line in lines for part in (line, plain("\n"))))
)
DISPLAY = st.builds(
    lambda ends, lines: plain("\n".join([ends[0], *lines, ends[1]])),
    st.sampled_from([(r"\[", r"\]"), ("$$", "$$"), (r"\begin{align}", r"\end{align}")]),
    st.lists(
        st.sampled_from(["- x", "= y", "+ 1", "# z", "> 0", "1. a", "| a |", r"a_1*b*c_1 \\", "---"]),
        min_size=1, max_size=4,
    ),
)  # fmt: skip
LEAF = st.one_of(
    PARAGRAPH,
    DISPLAY,
    st.builds(lambda n, line: joined(marked("heading", n), line), st.sampled_from([0, 1]), LINE),
    st.sampled_from(
        [plain("[1]: https://a.example"), plain('[b]: <c> "T"'), plain("x\n===\ny"), marked("rule")]
    ),
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(CELL, min_size=n, max_size=n), min_size=1, max_size=4).map(table)
    ),
)
INNER = LEAF | st.builds(
    lambda language, lines, fence: code_block(language, lines, fence, nested=True),
    LANGUAGE, st.lists(CODE, max_size=4), st.sampled_from([0, 1]),
)  # fmt: skip
NUMBER = st.integers(0, 2030)


def contained(inner: st.SearchStrategy[Written]) -> st.SearchStrategy[Written]:
    """Blocks inside a list or a quotation."""
    return st.one_of(
        inner.map(lambda block: prefixed(block, marked("quote"), "> ")),
        st.builds(
            lambda block, n: prefixed(block, marked("bullet", n), "  "), inner, st.sampled_from([0, 1])
        ),
        st.builds(
            lambda block, number, n: prefixed(
                block, joined(plain(str(number)), marked("end of a number", n)), " " * (len(str(number)) + 2)
            ),
            inner, NUMBER, st.sampled_from([0, 1]),
        ),
    )  # fmt: skip


BLOCK = LEAF | st.recursive(INNER, contained, max_leaves=3) | st.builds(
    lambda language, lines, fence: code_block(language, lines, fence, nested=False),
    LANGUAGE, st.lists(CODE, max_size=4), st.sampled_from([0, 1]),
)  # fmt: skip
ANSWERS = st.lists(BLOCK, min_size=1, max_size=4).map(
    lambda blocks: joined(*(part for block in blocks for part in (block, plain("\n\n"))))
)


def in_pieces(text: str, seed: int) -> Iterator[str]:
    random = Random(seed)
    while text:
        size = random.randint(1, 30)
        yield text[:size]
        text = text[size:]


@given(ANSWERS, st.integers(0, 1000), st.sampled_from([20, 40, 79, 200]))
def test_every_visible_character_of_an_answer_is_on_the_screen(
    answer: Written, seed: int, columns: int
) -> None:
    text, visible = answer
    screen = shown(in_pieces(text, seed), columns)
    lost = Counter("".join(visible.split())) - Counter(screen)
    assert not lost, (text, screen, lost)
    if STYLED_AWAY["table"][1] not in text:  # cells of a row stand side by side
        left = iter(screen)
        assert all(character in left for character in "".join(visible.split())), (text, screen)


MARKS = [
    "\n", "\n\n", " ", "  ", "    ", "- ", "* ", "1. ", "7) ", "> ", "# ", "```", "```py\n", "~~~\n", "|",
    "\n|---|---|\n",
    "**", "*", "_", "__", "`", "~~", "[", "](", ")", "\\", "\\(", "\\)", "\\[", "\\]", "$", "$$", "<b>",
    "&", ";", "---\n",
    "[1]: ", "!", "\t", "\r\n", "\u2028",
]  # fmt: skip


@given(st.lists(st.sampled_from(MARKS), min_size=5, max_size=40), st.integers(0, 1000))
def test_no_word_between_any_marks_is_lost(marks: list[str], seed: int) -> None:
    words = [f"w{n}" for n in range(len(marks))]
    text = "".join(word + mark for word, mark in zip(words, marks, strict=True))
    screen = shown(in_pieces(text, seed), 200)
    assert not [word for word in words if word not in screen], (text, screen)
    assert screen == shown([text], 200)
