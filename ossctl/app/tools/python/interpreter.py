"""What the places that run the model's Python have in common."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ossctl.app.tools.source import MAX_RESULT_BYTES, KeepGoing, truncated

SHARED = "/mnt/data"  # where the code finds the user's files; gpt-oss was trained with this path


@dataclass(frozen=True)
class Limits:
    """What one interpreter may use. `seconds` holds for each call, the others for the whole conversation."""

    seconds: float
    memory: int = 2 << 30  # bytes
    processes: int = 32
    files: int = 256 << 20  # bytes in /tmp
    printed: int = 16 << 20  # bytes in one call; the model gets the first MAX_RESULT_BYTES of them


@dataclass(frozen=True)
class Cell:
    """The outcome of one piece of code.

    `output` is what it printed and the value of its last expression. `error` is a traceback, or why the code
    was stopped. If `lost`, the interpreter has ended and its variables are gone. `stopped` means that the
    user stopped it.
    """

    output: str
    error: str = ""
    lost: bool = False
    stopped: bool = False


class Interpreter(Protocol):
    """A running interpreter, which keeps its variables from call to call."""

    def run(self, code: str, keep_going: KeepGoing) -> Cell:
        """Run code while `keep_going()` is true. Not called again after a cell that is `lost`."""

    def close(self) -> None:
        """End the interpreter."""


class Place(Protocol):
    """Where interpreters run."""

    @property
    def title(self) -> str:
        """The place as the user knows it."""

    @property
    def missing(self) -> str:
        """What the code cannot do here, in a sentence for the model."""

    def check(self) -> None:
        """Try whether interpreters can run here. Raises Unavailable."""

    def start(self, limits: Limits, shared: Path | None) -> Interpreter:
        """Start an interpreter that can read the folder `shared` as SHARED. Raises Unavailable."""

    def close(self) -> None:
        """End everything that was started."""


class Unavailable(Exception):
    """Interpreters cannot run in this place: the reason, and what to do about it."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def stop_reason(limits: Limits, *, going: bool, printed: int, late: bool) -> str:
    """Why running code has to stop now; empty if it may continue."""
    if not going:
        return "the user stopped this call"
    if late:
        return f"stopped because it took more than {limits.seconds:g} s"
    if printed > limits.printed:
        return f"stopped because it printed more than {limits.printed >> 20} MiB"
    return ""


def shortened(output: bytes, printed: int) -> str:
    """The text of `output`, the first bytes of the `printed` ones."""
    text = output[:MAX_RESULT_BYTES].decode("utf-8", "replace")
    return text if printed <= MAX_RESULT_BYTES else truncated(text)
