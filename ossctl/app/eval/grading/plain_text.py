"""Brings the many ways in which models write the same answer into one: Unicode, LaTeX, Markdown, HTML."""

import re
import unicodedata

# The start may be missing: some chat templates write it at the end of the prompt.
_THINKING = re.compile(
    r"\A\s*<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)|\A(?:(?!<think).)*?</think(?:ing)?>",
    re.DOTALL | re.IGNORECASE,
)

# NFKC would join these to the digits before them: 1½ would become 11/2, and 10² would become 102.
_MIXED_FRACTION = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
_SUPERSCRIPT = re.compile("[⁺⁻]?[⁰¹²³⁴-⁹]+")
_SUPERSCRIPT_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")

_SIGNS = str.maketrans(
    {
        "−": "-",  # minus
        "‐": "-",  # hyphen
        "‑": "-",  # hyphen that does not break
        "⁄": "/",  # fraction slash
        "∕": "/",  # division slash
        "٫": ".",  # Arabic decimal separator
        "٬": ",",  # Arabic thousands separator
        "‘": "'", "’": "'", "‚": "'", "‛": "'",
        "“": '"', "”": '"', "„": '"', "‟": '"', "«": '"', "»": '"',
        "\u2028": "\n", "\u2029": "\n",
    }
)  # fmt: skip
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_EN_DASH_AS_MINUS = re.compile(r"(?<![\w\s])–(?=[\d.])|(?<=\s)–(?=[\d.])|\A–(?=[\d.])")

_LATEX_MEANING = (
    (re.compile(r"\\(?:[dtc]?frac)\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r" \1/\2"),
    (re.compile(r"\\(?:[dtc]?frac)\s*(\d)\s*(\d)"), r" \1/\2"),
    (re.compile(r"\\sqrt\s*\{?"), "√"),
    (re.compile(r"\\(?:times|cdot)(?![a-zA-Z])"), "×"),
    (re.compile(r"\\(?:pm|mp)(?![a-zA-Z])"), "±"),
    (re.compile(r"\\pi(?![a-zA-Z])"), "π"),
    (re.compile(r"\\(?:approx|sim|simeq)(?![a-zA-Z])"), "≈"),
    (re.compile(r"\\(?:leq?|geq?|neq?|lt|gt)(?![a-zA-Z])"), "<"),
    (re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)"), "°"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"(?<=\d)(?:\\[,; ]|~)(?=\d{3})"), ","),
)
_REPEATING = re.compile(r"(?<!\d)(\d{1,9})\.(\d{0,9})\\(?:overline|bar|dot)\s?\{(\d{1,9})\}")
_LATEX_STYLE = re.compile(
    r"\\(?:text|textbf|textit|textrm|texttt|mathrm|mathbf|mathit|mathsf|mathtt|mbox|boldsymbol|bm|operatorname|"
    r"underline|emph)\s*\{([^{}]*)\}"
)
_LATEX_NOISE = re.compile(
    r"\\(?:left|right|displaystyle|quad|qquad|begin\{[a-z*]+\}|end\{[a-z*]+\})(?![a-zA-Z])|\\[()\[\],;:! ]|\$"
)
_LATEX_ESCAPE = re.compile(r"\\([%$#&_{}])")

_BOLD = re.compile(r"(?<!\d)\*\*+|\*\*+(?!\d)|(?<!\w)__|__(?!\w)|`+|~~")
_EMPHASIS = re.compile(
    r"(?<![\w)\s*])\*(?=[^\s*])|(?<=\s)\*(?=[^\s*])|\A\*(?=[^\s*])|(?<=[^\s*])\*(?![\w(*])"
)
_ITALIC = re.compile(r"(?<!\w)_(?=\w)|(?<=\w)_(?!\w)")
_QUOTE = re.compile(r"^[ \t]*>[ \t]?", re.MULTILINE)
_TAG = re.compile(r"</?(?:b|i|strong|em|p|br|span|u|code|sub|sup|div|mark)\b[^<>]{0,80}>")


def normal(text: str) -> str:
    """`text` in NFKC, with ASCII digits, quotes and minus signs, and without invisible characters."""
    text = _MIXED_FRACTION.sub(" ", text)
    text = _SUPERSCRIPT.sub(lambda found: "^" + found[0].translate(_SUPERSCRIPT_DIGITS), text)
    text = unicodedata.normalize("NFKC", text).replace("\r\n", "\n").replace("\r", "\n")
    return _EN_DASH_AS_MINUS.sub("-", _NOT_ASCII.sub(_ascii, text))


def _ascii(found: re.Match[str]) -> str:
    character = found[0]
    if unicodedata.category(character) == "Cf":
        return ""
    digit = unicodedata.decimal(character, None)
    return character.translate(_SIGNS) if digit is None else str(digit)


def without_thinking(text: str) -> str:
    """The text after a reasoning that the model has put between tags, "" if its end is missing."""
    return _THINKING.sub("", text)


def _repeating(found: re.Match[str]) -> str:
    """0.1\\overline{6} as a fraction: 15/90."""
    whole, fixed, repeated = found.groups()
    value = int(whole + fixed + repeated) - int(whole + fixed)
    return f"{value}/{'9' * len(repeated)}{'0' * len(fixed)}"


def without_latex(text: str) -> str:
    """`text` with LaTeX's numbers written plainly, and without its styles. `\\boxed` stays."""
    if "\\" in text or "$" in text or "{" in text:
        for _ in range(3):  # styles inside of styles
            text = _LATEX_STYLE.sub(r"\1", text)
        text = _REPEATING.sub(_repeating, text)
        for pattern, plain in _LATEX_MEANING:
            text = pattern.sub(plain, text)
        text = _LATEX_NOISE.sub("", _LATEX_ESCAPE.sub(r"\1", text))
    return text


def without_markup(text: str) -> str:
    """`text` without Markdown's emphasis, code marks and quote marks, and without HTML's tags."""
    text = _TAG.sub("", text)
    for pattern in (_BOLD, _EMPHASIS, _ITALIC, _QUOTE):
        text = pattern.sub("", text)
    return text


def plain(text: str) -> str:
    """`text` as a reader sees it: normal, without LaTeX, Markdown and HTML."""
    return without_markup(without_latex(normal(text)))
