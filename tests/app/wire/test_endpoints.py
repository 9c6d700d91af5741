"""Which endpoint a line's url names."""

from typing import Any

import pytest

from ossctl.app.wire.endpoints import Endpoint, OneEndpoint, endpoint_of
from ossctl.errors import RequestError


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("/v1/chat/completions", Endpoint.CHAT_COMPLETIONS),
        ("/chat/completions", Endpoint.CHAT_COMPLETIONS),
        ("/openai/v1/chat/completions/", Endpoint.CHAT_COMPLETIONS),
        ("https://api.example.com/v1/chat/completions?api-version=1", Endpoint.CHAT_COMPLETIONS),
        ("chat/completions", Endpoint.CHAT_COMPLETIONS),
        ("/v1/completions", Endpoint.COMPLETIONS),
        ("/v1/responses", Endpoint.RESPONSES),
        ("/v1/embeddings", Endpoint.EMBEDDINGS),
    ],
)
def test_an_endpoint_is_found_by_the_last_part_of_its_url(url: str, endpoint: Endpoint) -> None:
    assert endpoint_of(url) is endpoint


@pytest.mark.parametrize(
    "url", ["", "/v1/moderations", "/v1/mycompletions", "/v1/images/generations", "http://["]
)
def test_other_urls_are_refused_by_name(url: str) -> None:
    with pytest.raises(RequestError, match="url: "):
        endpoint_of(url)


@pytest.mark.parametrize(
    ("record", "endpoint"),
    [
        ({"body": {}, "url": "/v1/completions"}, Endpoint.COMPLETIONS),
        ({"body": {"messages": []}}, Endpoint.CHAT_COMPLETIONS),
        ({"body": {"messages": [], "prompt": None}}, Endpoint.CHAT_COMPLETIONS),
        ({"body": {"prompt": "Snow is"}}, Endpoint.COMPLETIONS),
        ({"body": {"input": "Hi"}}, Endpoint.RESPONSES),
        ({"body": {}}, Endpoint.CHAT_COMPLETIONS),
        ({"body": "Hi"}, Endpoint.CHAT_COMPLETIONS),
        ({"prompt": "Hi"}, Endpoint.CHAT_COMPLETIONS),
    ],
)
def test_a_line_without_a_url_is_known_by_its_body(record: dict[str, Any], endpoint: Endpoint) -> None:
    assert OneEndpoint().of(record, 1) is endpoint


def test_a_file_asks_one_endpoint() -> None:
    endpoints = OneEndpoint()
    assert endpoints.of({"prompt": "Hi"}, 1) is Endpoint.CHAT_COMPLETIONS
    assert endpoints.of({"body": {}, "url": "/v1/completions"}, 2) is Endpoint.COMPLETIONS
    assert endpoints.of({"body": {"prompt": "Snow is"}}, 3) is Endpoint.COMPLETIONS
    message = "url: this line is for /v1/chat/completions, and line 2 is for /v1/completions; "
    with pytest.raises(RequestError, match=f"^{message}"):
        endpoints.of({"body": {"messages": []}}, 4)
    assert endpoints.of({"prompt": "Hi"}, 5) is Endpoint.CHAT_COMPLETIONS
