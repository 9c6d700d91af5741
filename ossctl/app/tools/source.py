"""Where functions for the model come from: the user's programs, an interpreter, servers, a folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from ossctl.dialect import Tool, ToolCall
from ossctl.errors import OssctlError

MAX_RESULT_BYTES = 64 * 1024  # about 16,000 tokens: more would crowd out the conversation

POLL_SECONDS = 0.05  # between two looks at `keep_going` while something runs

KeepGoing = Callable[[], bool]


@dataclass(frozen=True)
class ToolOutcome:
    """The outcome of a tool call. `result` is the text for the model, an error message unless `ok`.

    `seconds` is how long the tool ran; the loop measures it.
    """

    call: ToolCall
    result: str
    ok: bool
    seconds: float = 0.0


class PartlyStarted(OssctlError):
    """Some of the servers of a source cannot start. The others have `tools`."""

    def __init__(self, error: OssctlError, tools: Sequence[Tool]) -> None:
        super().__init__(error.message, error.hint)
        self.tools = tools


class ToolSession(Protocol):
    """The functions of one source within one conversation, with what they remember of it.

    Calls come from one thread at a time, unless the source is `concurrent`.
    """

    def question(self, call: ToolCall) -> str | None:
        """What to ask the user before the call runs. None if nothing outside can be touched."""

    def run(self, call: ToolCall, keep_going: KeepGoing) -> ToolOutcome:
        """Run a call while `keep_going()` is true. Failures are results for the model, not raised."""

    def close(self) -> None:
        """End what the conversation started. Called once."""


class ToolSource(Protocol):
    """Functions from one place, for any number of conversations, which may use it from several threads."""

    @property
    def concurrent(self) -> bool:
        """Whether calls of one conversation may run at the same time."""

    def tools(self) -> Sequence[Tool]:
        """The functions, always the same ones. Starts what is needed to know them.

        Raises OssctlError; PartlyStarted if some of them can be used nevertheless.
        """

    def describe(self, name: str, /) -> str:
        """What runs the function, and its limits, in a few words for the user."""

    def notes(self) -> Sequence[str]:
        """What the user should know about where the functions run and what they can touch, if anything."""

    def open(self) -> ToolSession:
        """Begin a conversation. Returns at once: what is slow to start waits for the first call."""

    def close(self) -> None:
        """End everything that was started. Called once."""


def truncated(text: str) -> str:
    """A result of which `text` is the first MAX_RESULT_BYTES."""
    return f"{text}\n[truncated after {MAX_RESULT_BYTES:,} bytes]"


def denied(call: ToolCall) -> ToolOutcome:
    """The outcome of a call that the user refused."""
    return ToolOutcome(call, "The user does not allow this call.", ok=False)


def stopped(call: ToolCall) -> ToolOutcome:
    """The outcome of a call that the user stopped, before or while it ran."""
    return failed(call, "the user stopped this call")


def failed(call: ToolCall, reason: str) -> ToolOutcome:
    """The outcome of a call without a result; the model gets the reason."""
    result = msgspec.json.encode({"error": reason}).decode()
    return ToolOutcome(call, result, ok=False)
