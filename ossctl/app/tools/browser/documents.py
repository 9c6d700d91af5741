"""Files as pages: text, Markdown, HTML and PDF."""

import codecs
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import PurePosixPath
from tempfile import TemporaryFile
from time import monotonic
from urllib.parse import urljoin

from ossctl.app.tools.browser.html_text import html_page, site_of
from ossctl.app.tools.browser.library import PageError
from ossctl.app.tools.browser.page import Link, Page, continued, readable, title_line
from ossctl.app.tools.processes import exit_code
from ossctl.app.tools.source import KeepGoing

MAX_BYTES = 64 * 1024 * 1024  # of a PDF, which may have many images
MAX_CHARACTERS = 2 * 1024 * 1024  # of any other document; the rest is not read
MISSING_PDF = 'pip install "ossctl[pdf]" adds what is missing'
_PDF_SECONDS = 60.0

_HTML = {".html", ".htm", ".xhtml"}
_MARKDOWN = {".md", ".markdown", ".mdown"}
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
# Python has more codecs, and some need a time that grows with the square of the length. ASCII and Latin-1
# are left out because browsers read them as cp1252.
_ENCODINGS = {
    "utf-8", "cp866", "cp874", "cp932", "cp949", "cp950", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255",
    "cp1256", "cp1257", "cp1258",
    "iso8859-2", "iso8859-3", "iso8859-4", "iso8859-5", "iso8859-6", "iso8859-7", "iso8859-8", "iso8859-9",
    "iso8859-10", "iso8859-11", "iso8859-13", "iso8859-14", "iso8859-15", "iso8859-16", "tis-620", "koi8-r",
    "koi8-u", "mac-roman", "mac-cyrillic",
    "big5", "big5hkscs", "gb2312", "gbk", "gb18030", "euc_jp", "iso2022_jp", "shift_jis", "euc_kr",
}  # fmt: skip
_PDF_PAGE = re.compile(r"^\[Page \d+\]$", re.MULTILINE)
_HEADING = re.compile(r"^# +(.+)$", re.MULTILINE)
_MARKDOWN_LINK = re.compile(r"(?<!!)\[([^\]\[\n]{1,200})\]\(<?([^\s()<>]{1,500})>?(?: \"[^\"\n]{0,200}\")?\)")


def is_pdf(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() == ".pdf"


def can_read_pdf() -> bool:
    """Whether the library for that is installed."""
    return find_spec("pypdf") is not None


def document_page(path: str, data: bytes, *, cut: bool, as_source: bool = False) -> Page:
    """The page of a file that is not a PDF. `cut` if `data` is only its beginning. Raises PageError."""
    text = decoded(data)
    suffix = PurePosixPath(path).suffix.lower()
    if as_source:
        page = Page(path, title_line(path), readable(text))
    elif suffix in _HTML:
        page = html_page(text, path)
    elif suffix in _MARKDOWN:
        page = _markdown_page(path, readable(text))
    else:
        page = Page(path, title_line(PurePosixPath(path).name), readable(text))
    return continued(page) if cut else page


def decoded(data: bytes) -> str:
    """The text of a file in UTF-8, UTF-16 with a byte order mark, or the encoding that an HTML file names.

    Raises PageError for binary data.
    """
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return data.removeprefix(mark).decode(encoding, "replace")
    if b"\0" in data:
        raise PageError("the document is binary")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        if error.end == len(data):  # the end of `data` cut a character
            return data.decode("utf-8", "replace")
    return data.decode(_named_encoding(data), "replace")


def _named_encoding(data: bytes) -> str:
    """The codec of the encoding that an HTML file names; "cp1252" if it is no encoding of documents."""
    named = _CHARSET.search(data, 0, 2048)
    try:
        codec = codecs.lookup(named[1].decode("ascii")).name if named else ""
    except (LookupError, UnicodeError):
        codec = ""
    return codec if codec in _ENCODINGS else "cp1252"


def pdf_page(path: str, data: bytes, keep_going: KeepGoing) -> Page:
    """The page of a PDF, which another process reads within limits of time and memory. Raises PageError."""
    if not can_read_pdf():
        raise PageError(f"PDF files cannot be read here: {MISSING_PDF}")
    command = [sys.executable, "-P", "-m", "ossctl.app.tools.browser.pdf_text"]
    deadline = monotonic() + _PDF_SECONDS
    with TemporaryFile() as given, TemporaryFile() as written:
        given.write(data)
        given.seek(0)
        process = subprocess.Popen(command, stdin=given, stdout=written, stderr=subprocess.DEVNULL)  # noqa: S603
        try:
            while (code := exit_code(process)) is None:
                if not keep_going() or monotonic() > deadline:
                    raise PageError(f"the PDF took more than {_PDF_SECONDS:g} s to read")
        finally:
            process.kill()
            process.wait()
        written.seek(0)
        title, _, text = written.read(4 * MAX_CHARACTERS).decode("utf-8", "replace").partition("\n")
    if code and not text:
        raise PageError("the PDF is damaged, encrypted or too large")
    if not _PDF_PAGE.sub("", text).strip():
        raise PageError("the PDF has no text, only images")
    page = Page(path, title_line(title or PurePosixPath(path).name), readable(text))
    return continued(page) if len(text) >= MAX_CHARACTERS else page


def _markdown_page(path: str, text: str) -> Page:
    """Markdown with numbers for the links, and its first heading as the title."""
    heading = _HEADING.search(text)
    links: dict[int, Link] = {}
    ids: dict[str, int] = {}

    def numbered(found: re.Match[str]) -> str:
        label, target = title_line(found[1]), found[2]
        if target.startswith("#") or not label:
            return found[0]
        try:
            url = urljoin(path, target)
        except ValueError:
            return found[0]
        number = ids.setdefault(url, len(ids))
        links[number] = Link(url)
        return f"【{number}†{label}{f'†{site_of(url)}' if site_of(url) else ''}】"

    body = _MARKDOWN_LINK.sub(numbered, text)
    return Page(path, title_line(heading[1] if heading else PurePosixPath(path).name), body, links)
