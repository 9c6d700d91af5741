"""The endpoints that the lines of a batch file ask."""

import re
from enum import Enum
from typing import Any

from ossctl.errors import RequestError


class Endpoint(Enum):
    """An API endpoint, by the last part of its path."""

    CHAT_COMPLETIONS = "chat/completions"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    EMBEDDINGS = "embeddings"


# The fields that tell the endpoint of a body without a url, as Together and Mistral take them.
_INPUTS = {
    "messages": Endpoint.CHAT_COMPLETIONS,
    "prompt": Endpoint.COMPLETIONS,
    "input": Endpoint.RESPONSES,
}


class OneEndpoint:
    """Holds the lines of a file to the endpoint of the first one that has a body."""

    def __init__(self) -> None:
        self._first: Endpoint | None = None
        self._line = 0

    def of(self, record: dict[str, Any], line: int) -> Endpoint:
        """The endpoint that `record`, on line number `line`, asks.

        A record in the short form asks Chat Completions, in any file. Raises RequestError for a second
        endpoint, and as `endpoint_of` does.
        """
        if "body" not in record:
            return Endpoint.CHAT_COMPLETIONS
        endpoint = _endpoint_of_record(record)
        if self._first is None:
            self._first, self._line = endpoint, line
        if endpoint is not self._first:
            asked = (
                f"this line is for /v1/{endpoint.value}, and line {self._line} is for /v1/{self._first.value}"
            )
            raise RequestError(f"url: {asked}; give each endpoint a file of its own")
        return endpoint


def _endpoint_of_record(record: dict[str, Any]) -> Endpoint:
    if isinstance(url := record.get("url"), str):
        return endpoint_of(url)
    body = record["body"] if isinstance(record["body"], dict) else {}
    return next(
        (endpoint for name, endpoint in _INPUTS.items() if body.get(name) is not None),
        Endpoint.CHAT_COMPLETIONS,
    )


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
