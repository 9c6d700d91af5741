"""The endpoints that a batch file's `url` fields name."""

import re
from enum import Enum

from ossctl.errors import RequestError


class Endpoint(Enum):
    """An API endpoint, by the last part of its path."""

    CHAT_COMPLETIONS = "chat/completions"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    EMBEDDINGS = "embeddings"


def endpoint_of(url: str) -> Endpoint:
    """The endpoint of a line's `url`, with any host, prefix and version. Raises RequestError.

    OpenAI writes `/v1/chat/completions`, Azure `/chat/completions`, Groq `/openai/v1/chat/completions`, and
    some clients the whole address.
    """
    path = re.split("[?#]", url, maxsplit=1)[0].rstrip("/")
    for endpoint in Endpoint:
        if path.endswith(f"/{endpoint.value}") or path == endpoint.value:
            return endpoint
    known = ", ".join(f"/v1/{endpoint.value}" for endpoint in Endpoint)
    raise RequestError(f"url: {url[:80]!r} is not supported, must be one of {known}")
