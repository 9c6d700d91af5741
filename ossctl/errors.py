"""Errors that a user can cause or has to know of.

    OssctlError            what happened, what to do next, the exit code
    ├── UsageError         wrong usage or unreadable input (2)
    ├── ModelError         the model is missing, incomplete or corrupt (4)
    ├── MemoryShortage     it does not fit in memory (5)
    ├── Interrupted        stopped by a signal (130, 143)
    ├── TooManyFailures    more lines of a batch failed than may (3)
    ├── OutputClosed       whoever read the output has closed it (0, and quietly)
    └── RequestError       one request is wrong; the others go on

Anything else that reaches the top is a bug and ends with exit code 1.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process returns, for scripts."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    SOME_FAILED = 3
    MODEL = 4
    MEMORY = 5
    CUT = 6  # the answer reached its token limit
    REPETITION = 7  # the model repeated itself and was stopped
    REFUSAL = 8  # the model refused
    SIGHUP = 129
    SIGINT = 130
    SIGTERM = 143


# What each means, for the man page and the README.
EXIT_CODES = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "failed unexpectedly; or the model gave no answer",
    ExitCode.USAGE: "wrong usage or unreadable input",
    ExitCode.SOME_FAILED: "the batch ran to its end, some requests failed",
    ExitCode.MODEL: "the model is missing, incomplete or corrupt",
    ExitCode.MEMORY: "it does not fit in memory",
    ExitCode.CUT: "the answer reached its token limit",
    ExitCode.REPETITION: "the model repeated itself and was stopped",
    ExitCode.REFUSAL: "the model refused",
    ExitCode.SIGHUP: "the terminal went away; what was said is kept",
    ExitCode.SIGINT: "interrupted; what was finished is kept",
    ExitCode.SIGTERM: "terminated; what was finished is kept",
}


class OssctlError(Exception):
    """An error for the user: one line that says what happened, one that says what to do next."""

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(OssctlError):
    """Wrong usage, or input that cannot be read."""

    exit_code = ExitCode.USAGE


class ModelError(OssctlError):
    """The model file is missing, incomplete, corrupt or of a kind that cannot be run."""

    exit_code = ExitCode.MODEL


class MemoryShortage(OssctlError):
    """The model or its cache does not fit in memory."""

    exit_code = ExitCode.MEMORY


class Interrupted(OssctlError):
    """A signal asked to stop. `signum` is its number."""

    def __init__(self, signum: int, hint: str = "") -> None:
        super().__init__("interrupted", hint)
        self.exit_code = ExitCode(128 + signum)


class TooManyFailures(OssctlError):
    """A batch was stopped because too many lines have failed; `latest` is the error of `line`."""

    exit_code = ExitCode.SOME_FAILED

    def __init__(self, latest: str, line: int, failed: int, hint: str = "") -> None:
        lines = "line" if failed == 1 else "lines"
        super().__init__(f"stopped after {failed:,} failed {lines}; line {line}: {latest}", hint)


class OutputClosed(OssctlError):
    """Whoever read the output has closed it (`| head`) and so has all it wanted."""

    exit_code = ExitCode.DONE

    def __init__(self) -> None:
        super().__init__("")


class RequestError(OssctlError):
    """One request cannot be answered as it is.

    `code` is for programs: `invalid_request`, `duplicate_id`, `template_failed`, `context_length_exceeded`,
    `schema_unsatisfied`, `repetition`, `timeout`, `generation_failed`.
    """

    def __init__(self, message: str, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.code = code
