"""Which endpoint a line's url names."""

import pytest

from ossctl.app.wire.endpoints import Endpoint, endpoint_of
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
