"""Pages of the web, from a server on this machine."""

import gzip
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from ossctl.app.tools.browser.library import PageError
from ossctl.app.tools.browser.web_library import WebLibrary

pytest.importorskip("trafilatura")
pytest.importorskip("ddgs")

ARTICLE = (
    "<html><head><title>Turku &amp; Aura</title></head><body><nav><a href='/menu'>Menu</a></nav><article>"
    + ("<h1>Turku</h1><p>A long paragraph about the city, with <a href='/river'>a river</a> in it.</p>" * 3)
)
PAGES = {
    "/article": ("text/html; charset=utf-8", ARTICLE.encode()),
    "/notes.txt": ("text/plain", "one\r\ntwo ä".encode()),
    "/zipped": ("text/plain", gzip.compress(b"packed")),
    "/bomb": ("text/plain", gzip.compress(b"0" * 200_000_000, 1)),
    "/long": ("text/html", ARTICLE.encode() + b"<p>A paragraph more.</p>" * 100_000),
    "/codec": ("text/html", b'<meta charset="punycode"><p>caf\xe9</p>'),
    "/picture": ("image/png", b"\x89PNG"),
}


class Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/notes.txt")
        elif self.path == "/silent":
            time.sleep(5)
            return
        elif self.path == "/loop":
            self.send_response(302)
            self.send_header("Location", "/loop")
        elif self.path in PAGES:
            kind, body = PAGES[self.path]
            self.send_response(200)
            self.send_header("Content-Type", kind)
            if body[:2] == b"\x1f\x8b":
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(body)
            return
        else:
            self.send_response(404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def web() -> Iterator[WebLibrary]:
    with closing(WebLibrary(public_only=False)) as library:
        yield library


def test_an_article_without_its_menu(web: WebLibrary, site: str) -> None:
    page = web.fetch(f"{site}/article", lambda: True)
    assert page.title == "Turku & Aura"
    assert page.text.startswith("# Turku\n\nA long paragraph about the city, with 【0†a river】 in it")
    assert "Menu" not in page.text
    assert page.links[0].url == f"{site}/river"
    assert "<nav>" in web.fetch(f"{site}/article", lambda: True, as_source=True).text


def test_texts_compressed_or_moved(web: WebLibrary, site: str) -> None:
    assert web.fetch(f"{site}/moved", lambda: True).text == "one\ntwo ä"
    assert web.fetch(f"{site}/moved", lambda: True).url == f"{site}/notes.txt"
    assert web.fetch(f"{site}/zipped", lambda: True).text == "packed"


def test_a_page_without_end_is_cut(web: WebLibrary, site: str) -> None:
    text = web.fetch(f"{site}/bomb", lambda: True).text
    assert len(text) < 3_000_000
    assert text.endswith("0\n[The document continues.]")


def test_a_long_article_says_that_it_goes_on(web: WebLibrary, site: str) -> None:
    page = web.fetch(f"{site}/long", lambda: True, as_source=True)  # extracting so much takes long
    assert page.text.endswith("\n[The document continues.]")
    assert "goes on" not in web.fetch(f"{site}/article", lambda: True).text


def test_a_page_that_names_a_codec_for_other_things_is_read(web: WebLibrary, site: str) -> None:
    assert "café" in web.fetch(f"{site}/codec", lambda: True).text


@pytest.mark.parametrize(
    ("path", "message"),
    [("/none", "answers 404"), ("/loop", "more than 5 redirects"), ("/picture", "is image/png, not text")],
)
def test_what_is_no_page_is_told(web: WebLibrary, site: str, path: str, message: str) -> None:
    with pytest.raises(PageError, match=message):
        web.fetch(f"{site}{path}", lambda: True)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/hostname",
        "ftp://x.org/",
        "http://",
        "http://[::1",
        "javascript:1",
        f"http://{'ä.' * 127}fi",
    ],
)
def test_only_the_web_is_opened(web: WebLibrary, url: str) -> None:
    with pytest.raises(PageError):
        web.fetch(url, lambda: True)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "0", "10.0.0.1"]
)
def test_nothing_of_this_machine_or_its_network_is_opened(host: str) -> None:
    with pytest.raises(PageError, match=r"is not on the public network|cannot connect"):
        WebLibrary().fetch(f"http://{host}/", lambda: True)


def test_a_stopped_call_ends(web: WebLibrary, site: str) -> None:
    with pytest.raises(PageError):
        web.fetch(f"{site}/bomb", lambda: False)
    with pytest.raises(PageError, match="stopped"):
        web.search("x", 1, lambda: False)


def test_a_call_to_a_site_that_does_not_answer_is_stopped_at_once(web: WebLibrary, site: str) -> None:
    began = time.monotonic()
    with pytest.raises(PageError, match="stopped"):
        web.fetch(f"{site}/silent", lambda: time.monotonic() < began + 0.2)
    assert time.monotonic() - began < 2


def test_a_site_is_reached_by_another_address_if_the_first_leads_nowhere(
    web: WebLibrary, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def resolved(host: str, port: int, *args: int, **options: int) -> list[tuple[Any, ...]]:
        addresses = ["127.0.0.2", "127.0.0.1"] if host == "two.test" else [host]
        return [found for each in addresses for found in real(each, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    there = site.replace("127.0.0.1", "two.test")
    assert web.fetch(f"{there}/notes.txt", lambda: True).text == "one\ntwo ä"
