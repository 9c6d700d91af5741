"""What the model reads of a function's result."""

import msgspec
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
)

from ossctl.app.tools.source import MAX_RESULT_BYTES, truncated


def text_of(result: CallToolResult) -> str:
    """The texts of a result; its structured content if it has no items. At most MAX_RESULT_BYTES.

    What is no text is named.
    """
    if result.content:
        text = "\n".join(map(_item_text, result.content))
    elif "structured_content" in result.model_fields_set:
        text = msgspec.json.encode(result.structured_content).decode()
    else:
        text = "(no content)"
    return _cut(text)


def _item_text(item: ContentBlock) -> str:
    match item:
        case TextContent():
            return item.text
        case ResourceLink():
            about = f": {item.description}" if item.description else ""
            return f"[{item.title or item.name}]({item.uri}){about}"
        case EmbeddedResource(resource=BlobResourceContents() as blob):
            return f"[resource {blob.uri}, {blob.mime_type or 'binary'}: only text can be read]"
        case EmbeddedResource():
            return f"{item.resource.uri}:\n{getattr(item.resource, 'text', '')}"
        case ImageContent() | AudioContent():
            return f"[{item.type}, {item.mime_type}: only text can be read]"


def _cut(text: str) -> str:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= MAX_RESULT_BYTES:
        return encoded.decode()
    kept = encoded[:MAX_RESULT_BYTES].decode("utf-8", "ignore")
    return truncated(kept)
