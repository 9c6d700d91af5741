"""Retry requests to the hub with exponential backoff."""

from collections.abc import Callable
from typing import TypeVar

import httpx2
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import parse_ratelimit_headers

_T = TypeVar("_T")

_TOO_MANY_REQUESTS = 429
RETRYABLE = (408, _TOO_MANY_REQUESTS, 500, 502, 503, 504)

_ATTEMPTS = 12  # without progress: two and a half minutes, in which a router can restart
_MIN_SECONDS, _MAX_SECONDS = 0.25, 30.0
_MAX_RETRY_AFTER = 600.0  # seconds


class Backoff:
    """Wait between attempts, doubling the delay each time unless the server specifies one."""

    def __init__(self, wait: Callable[[float, str], None], attempts: int = _ATTEMPTS) -> None:
        """`wait(seconds, reason)` sleeps, and can show why."""
        self._wait = wait
        self._limit = attempts
        self._attempts = 0

    def reset(self) -> None:
        """Start over with the shortest delay, because there was progress."""
        self._attempts = 0

    def wait_after(self, error: Exception) -> None:
        """Wait before the next attempt. Raises `error` if it is permanent or no attempts are left."""
        self._attempts += 1
        if not _is_transient(error) or self._attempts >= self._limit:
            raise error
        seconds = _retry_after(error)
        if seconds is None:
            seconds = min(_MIN_SECONDS * 2 ** (self._attempts - 1), _MAX_SECONDS)
        if seconds > _MAX_RETRY_AFTER:
            raise error
        self._wait(seconds, reason(error))

    def call(self, function: Callable[[], _T]) -> _T:
        """Call `function` until it succeeds or fails permanently."""
        while True:
            try:
                return function()
            except httpx2.HTTPError as error:
                self.wait_after(error)


def reason(error: Exception) -> str:
    """Why a request failed, as a phrase for messages."""
    if isinstance(error, HfHubHTTPError):
        code = error.response.status_code
        known = {_TOO_MANY_REQUESTS: "too many requests", 503: "busy"}
        return f"the server returned {code}, {known.get(code, error.response.reason_phrase)}"
    if isinstance(error, httpx2.TimeoutException):
        return "the server stopped sending"
    if isinstance(error, httpx2.ConnectError):
        return f"no connection ({error})"
    if isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError):
        return "the connection was lost"
    return str(error)


def _is_transient(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in RETRYABLE
    return isinstance(error, httpx2.TransportError) and not isinstance(error, httpx2.UnsupportedProtocol)


def _retry_after(error: Exception) -> float | None:
    """The delay in seconds from the hub's RateLimit header or from a numeric Retry-After."""
    if not isinstance(error, HfHubHTTPError):
        return None
    headers = error.response.headers
    limit = parse_ratelimit_headers(headers)
    limited = error.response.status_code == _TOO_MANY_REQUESTS
    if limited and limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    value = headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None
