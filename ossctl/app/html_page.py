"""Self-contained HTML pages, without external scripts or fonts."""

from html import escape

from ossctl.text import harmless

__all__ = ["escape", "html_page"]

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #8884; }
pre, .text { white-space: pre-wrap; overflow-wrap: anywhere; }
.note { opacity: .7; font-size: .875rem; }
"""


def html_page(title: str, body: str, style: str = "") -> str:
    """A page with `body`, which is HTML; `title` is text. Control characters in them are replaced."""
    return harmless(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )
