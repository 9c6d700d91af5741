"""When a request to the hub is worth repeating, and after how long."""

from collections.abc import Callable
from typing import TypeVar

import httpx2
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import parse_ratelimit_headers

_T = TypeVar("_T")

_TOO_MANY = 429
BUSY = (408, _TOO_MANY, 500, 502, 503, 504)  # waiting may help

_ATTEMPTS = 12  # without a byte of progress: two and a half minutes, as a router takes to start
_SHORTEST_WAIT, _LONGEST_WAIT = 0.25, 30.0
_LONGEST_RETRY_AFTER = 600.0


class Patience:
    """Waits between attempts, longer each time, as the server asks where it does; progress renews it."""

    def __init__(self, wait: Callable[[float, str], None], attempts: int = _ATTEMPTS) -> None:
        """`wait(seconds, why)` sleeps, and is the place to show that."""
        self._wait = wait
        self._limit = attempts
        self._attempts = 0

    def progress(self) -> None:
        self._attempts = 0

    def after(self, error: Exception) -> None:
        """Wait, or raise `error` where waiting does not help or has been tried enough."""
        self._attempts += 1
        if not _may_pass(error) or self._attempts >= self._limit:
            raise error
        asked = _retry_after(error)
        seconds = min(_SHORTEST_WAIT * 2 ** (self._attempts - 1), _LONGEST_WAIT) if asked is None else asked
        if seconds > _LONGEST_RETRY_AFTER:
            raise error
        self._wait(seconds, reason(error))

    def call(self, function: Callable[[], _T]) -> _T:
        """What `function` returns, after as many attempts as that takes."""
        while True:
            try:
                return function()
            except httpx2.HTTPError as error:
                self.after(error)


def reason(error: Exception) -> str:
    """Why a request failed, in a few words."""
    if isinstance(error, HfHubHTTPError):
        code = error.response.status_code
        known = {_TOO_MANY: "too many requests", 503: "busy"}.get(code, error.response.reason_phrase)
        return f"the server said {code}, {known}"
    if isinstance(error, httpx2.TimeoutException):
        return "the server stopped sending"
    if isinstance(error, httpx2.ConnectError):
        return f"no connection ({error})"
    if isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError):
        return "the connection broke"
    return str(error)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in BUSY
    return isinstance(error, httpx2.TransportError) and not isinstance(error, httpx2.UnsupportedProtocol)


def _retry_after(error: Exception) -> float | None:
    """Seconds that the server asks to wait: the hub's own RateLimit, or Retry-After with a number."""
    if not isinstance(error, HfHubHTTPError):
        return None
    headers = error.response.headers
    limit = parse_ratelimit_headers(headers)
    if error.response.status_code == _TOO_MANY and limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    value = headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None
