"""A folder of documents: what is found, also after changes and by two programs at once."""

import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

from ossctl.app.tools.browser import documents, folder_update
from ossctl.app.tools.browser.folder_library import FolderLibrary
from ossctl.app.tools.browser.library import PageError
from ossctl.app.tools.browser.page import Page


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    (root / "sub").mkdir(parents=True)
    (root / "turku.md").write_text(
        "# Turku\n\nA city by the [river](sub/aura.html) Aura, see [more](https://x.org).\n"
    )
    (root / "sub" / "aura.html").write_text(
        "<title>The Aura</title><p>A river with <a href='../turku.md'>a city</a>"
    )
    (root / "notes.txt").write_bytes("r\u00e9sum\u00e9s of cities\r\n汉字很有意思\r\n".encode())
    (root / "picture.dat").write_bytes(b"city \0\1")
    return root


@pytest.fixture
def library(folder: Path, tmp_path: Path) -> FolderLibrary:
    return FolderLibrary(folder, tmp_path / "cache")


def found(library: FolderLibrary, query: str) -> list[str]:
    return [hit.url for hit in library.search(query, 10, lambda: True).pages]


def test_finds_words_in_every_format_the_best_first(library: FolderLibrary) -> None:
    assert found(library, "city Turku") == ["turku.md", "sub/aura.html", "notes.txt"]
    assert found(library, "RESUME") == ["notes.txt"]
    assert found(library, '"river Aura"') == ["turku.md"]
    assert found(library, "很有") == ["notes.txt"]
    assert found(library, "cities AND OR ( NEAR * : ^") == found(library, "cities and or near")
    assert found(library, '"" ?!') == []
    assert found(library, "what is a city of the river") == found(library, "city river")
    assert len(found(library, "the")) == 2
    passages = [hit.passage for hit in library.search("意思", 9, lambda: True).pages]
    assert passages == ["résumés of cities\n汉字很有意思\n"]


def test_pages_link_to_each_other(library: FolderLibrary) -> None:
    page = library.fetch("turku.md", lambda: True)
    assert page.title == "Turku"
    assert page.text.endswith("A city by the 【0†river】 Aura, see 【1†more†x.org】.\n")
    other = library.fetch(page.links[0].url, lambda: True)
    assert (other.title, other.links[0].url) == ("The Aura", "turku.md")
    assert library.fetch("turku.md", lambda: True, as_source=True).text.startswith(
        "# Turku\n\nA city by the [river]"
    )


@pytest.mark.parametrize(
    "url", ["https://x.org/", "../x", "/etc/hostname", "file://host/x", "sub", "none.md", "http://["]
)
def test_only_files_of_the_folder_are_pages(library: FolderLibrary, url: str) -> None:
    with pytest.raises(PageError):
        library.fetch(url, lambda: True)


@pytest.mark.skipif(sys.platform == "win32", reason="links of POSIX")
def test_links_out_of_the_folder_are_neither_found_nor_opened(
    library: FolderLibrary, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("a secret lighthouse")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "link").symlink_to(tmp_path)
    assert found(library, "lighthouse") == []
    for url in ("link.txt", "link/secret.txt"):
        with pytest.raises(PageError, match="outside the folder"):
            library.fetch(url, lambda: True)


def test_other_ways_to_write_a_path(library: FolderLibrary) -> None:
    for url in ("/turku.md", "./turku.md", "turku.md#top", "tur%6bu.md?x=1"):
        assert library.fetch(url, lambda: True).title == "Turku"


def test_a_binary_file_is_said_to_be_one(library: FolderLibrary) -> None:
    with pytest.raises(PageError, match="binary"):
        library.fetch("picture.dat", lambda: True)


@pytest.mark.parametrize(
    "name",
    ["idna", "punycode", "utf-7", "unicode_escape", "rot13", "undefined", "no-such-encoding", "latin-1"],
)
def test_a_page_in_an_encoding_that_is_none_does_not_end_the_index(
    library: FolderLibrary, folder: Path, name: str
) -> None:
    (folder / "a.html").write_bytes(f'<meta charset="{name}"><p>caf\xe9 harbour'.encode("cp1252"))
    assert found(library, "harbour") == ["a.html"]
    assert found(library, "Turku")
    assert "café" in library.fetch("a.html", lambda: True).text


def test_a_page_in_an_old_encoding_is_read(library: FolderLibrary, folder: Path) -> None:
    for name in ("windows-1251", "KOI8-R", "cp866", "ISO-8859-5", "Shift_JIS", "GBK", "euc-kr"):
        (folder / "a.html").write_bytes(f'<meta charset="{name}"><p>Привет'.encode(name))
        assert library.fetch("a.html", lambda: True).text.strip() == "Привет", name


def test_a_long_document_says_that_it_goes_on(library: FolderLibrary, folder: Path) -> None:
    (folder / "long.txt").write_bytes(b"0" * (documents.MAX_CHARACTERS + 1))
    assert library.fetch("long.txt", lambda: True).text.endswith("[The document continues.]")


def test_the_index_follows_changes(
    library: FolderLibrary, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_update, "_RESTS", 0)
    assert found(library, "lighthouse") == []
    (folder / "notes.txt").write_text("a lighthouse")
    (folder / "turku.md").unlink()
    assert found(library, "lighthouse") == ["notes.txt"]
    assert found(library, "Turku") == []


def test_unchanged_files_are_not_read_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(FolderLibrary(folder, tmp_path / "cache"), "city")
    monkeypatch.setattr(FolderLibrary, "_read", None)
    assert found(FolderLibrary(folder, tmp_path / "cache"), "city")


def test_what_is_left_out_is_said(library: FolderLibrary, folder: Path) -> None:
    library._update._max_files = 2
    assert library.search("city", 9, lambda: True).note == "Only 2 files of the folder are searched."


def test_a_search_does_not_wait_for_a_slow_index(
    library: FolderLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert library.search("city", 9, lambda: False).note.startswith("The index is not complete yet: ")
    library.close()


def test_an_unexpected_error_of_the_index_is_raised_by_the_searches(
    library: FolderLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Page:
        raise RecursionError("a page that is too deep")

    monkeypatch.setattr(library._update, "_read", broken)
    for _ in range(2):
        with pytest.raises(RecursionError, match="too deep"):
            found(library, "city")


def test_a_file_that_is_still_read_does_not_delay_the_end(
    library: FolderLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = Event()

    def slow(path: str, *_: object) -> Page:
        ended.wait(20)
        return Page(path, "", "")

    monkeypatch.setattr(library._update, "_read", slow)
    monkeypatch.setattr(folder_update, "_CLOSE_SECONDS", 0.1)
    library.search("city", 9, lambda: False)
    began = monotonic()
    library.close()
    assert monotonic() - began < 10
    ended.set()


def test_several_programs_at_once(folder: Path, tmp_path: Path) -> None:
    for number in range(300):
        (folder / f"{number}.txt").write_text(f"number {number} city")
    libraries = [FolderLibrary(folder, tmp_path / "cache") for _ in range(4)]
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(lambda library: found(library, "number 77")[:1], libraries)) == [["77.txt"]] * 4


def test_a_damaged_index_is_made_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found(FolderLibrary(folder, tmp_path / "cache"), "city")
    (database,) = (tmp_path / "cache").iterdir()
    database.write_bytes(b"not a database" * 1000)
    with pytest.raises(PageError, match="was damaged and has been deleted"):
        found(FolderLibrary(folder, tmp_path / "cache"), "city")
    assert found(FolderLibrary(folder, tmp_path / "cache"), "Turku") == ["turku.md"]
    with sqlite3.connect(database) as reader:
        assert reader.execute("SELECT count(*) FROM files").fetchone() == (4,)


def test_a_pdf_is_read_by_page(library: FolderLibrary, folder: Path) -> None:
    pytest.importorskip("pypdf")
    (folder / "paper.pdf").write_bytes(pdf("Lighthouses of Finland"))
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    assert found(library, "lighthouse") == ["paper.pdf"]
    assert library.fetch("paper.pdf", lambda: True).text.split("\n")[:2] == [
        "[Page 1]",
        "Lighthouses of Finland",
    ]
    with pytest.raises(PageError, match="damaged"):
        library.fetch("broken.pdf", lambda: True)


def test_a_long_pdf_says_that_it_goes_on(
    library: FolderLibrary, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pypdf")
    monkeypatch.setattr(documents, "MAX_CHARACTERS", 20)
    (folder / "paper.pdf").write_bytes(pdf("Lighthouses of Finland"))
    assert library.fetch("paper.pdf", lambda: True).text.endswith("\n[The document continues.]")


def test_a_missing_library_is_named(
    library: FolderLibrary, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (documents, folder_update):
        monkeypatch.setattr(module, "can_read_pdf", lambda: False)
    (folder / "paper.pdf").write_bytes(b"%PDF-1.4")
    assert library.search("x", 9, lambda: True).note.startswith("PDF files are not searched: pip install")
    with pytest.raises(PageError, match="pip install"):
        library.fetch("paper.pdf", lambda: True)


def pdf(text: str) -> bytes:
    """A PDF with one page and one line."""
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        f"<</Length {len(stream)}>>stream\n{stream}\nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    body, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += f"{number} 0 obj{content}endobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    tail = (
        f"xref\n0 6\n0000000000 65535 f \n{table}trailer<</Size 6/Root 1 0 R>>\nstartxref\n{len(body)}\n%%EOF"
    )
    return body + tail.encode()
