"""What MCP servers answer to `search` and `fetch`, in the format of OpenAI's connectors."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ossctl.app.tools.browser.documents import MAX_CHARACTERS

if TYPE_CHECKING:
    from mcp_types import CallToolResult

_LISTS = ("results", "result", "hits", "documents")
_TEXTS = ("text", "content", "snippet", "description")


@dataclass(frozen=True)
class Document:
    """A document as far as the server has told. Its `id` is "" if it cannot be fetched."""

    id: str
    url: str
    title: str
    text: str


def answer_of(result: "CallToolResult") -> Any:
    """The value that a result holds, as structured content or as JSON; else its text."""
    value = result.structured_content
    if isinstance(value, dict) and value.keys() == {"result"}:  # how the package wraps what is no object
        value = value["result"]
    if value is None:
        value = plain_text(result)
    if not isinstance(value, str):
        return value
    try:
        decoded = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return decoded if isinstance(decoded, dict | list) else value


def plain_text(result: "CallToolResult") -> str:
    """The text items of a result."""
    return "\n".join(item.text for item in result.content if item.type == "text")


def documents_of(answer: Any) -> list[Document] | None:
    """The documents that a search found. None if the answer is not a list of them."""
    if isinstance(answer, dict):
        answer = next((answer[key] for key in _LISTS if isinstance(answer.get(key), list)), None)
    if not isinstance(answer, list):
        return None
    found = list(_documents(answer))
    return found if found or not answer else None


def document_of(answer: Any) -> Document:
    """The document that was fetched. Its text is "" if the answer has none."""
    if isinstance(answer, str):
        answer = {"text": answer}
    return _document(answer if isinstance(answer, dict) else {})


def _documents(items: list[Any]) -> Iterator[Document]:
    for item in items:
        if isinstance(item, dict) and ((document := _document(item)).id or document.url or document.text):
            yield document


def _document(item: Mapping[str, Any]) -> Document:
    identifier = item.get("id")
    return Document(
        "" if identifier is None else str(identifier),
        _text(item, "url"),
        _text(item, "title"),
        next(filter(None, (_text(item, key) for key in _TEXTS)), "")[:MAX_CHARACTERS],
    )


def _text(item: Mapping[str, Any], key: str) -> str:
    value = item.get(key)
    return value if isinstance(value, str) else ""
