"""Errors with messages for the user, and the exit codes.

    OssctlError            the base: message, hint and exit code
    ├── UsageError         wrong usage or unreadable input (2)
    ├── ModelError         the model is missing, incomplete or corrupt (4)
    ├── MemoryShortage     the model does not fit in memory (5)
    ├── Interrupted        stopped by a signal (129, 130, 143)
    ├── TooManyFailures    too many lines of a batch failed (3)
    ├── NoHome             this user has no home folder (1)
    ├── OutputLost         standard output cannot be written (1)
    │   └── OutputClosed   its reader has closed it (0, without a message)
    └── RequestError       one request is invalid; the others continue

Any other exception that reaches `main` is a bug and ends with exit code 1.
"""

import errno
import os
import stat
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the process."""

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


# For the man page and docs/reference/exit-codes.md.
EXIT_CODES = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "unexpected error, or the model gave no answer that can be used",
    ExitCode.USAGE: "wrong usage or unreadable input",
    ExitCode.SOME_FAILED: "complete, but some requests or contestants failed",
    ExitCode.MODEL: "the model is missing, incomplete or corrupt",
    ExitCode.MEMORY: "the model does not fit in memory",
    ExitCode.CUT: "the answer reached its token limit",
    ExitCode.REPETITION: "the model repeated itself and was stopped",
    ExitCode.REFUSAL: "the model refused",
    ExitCode.SIGHUP: "the terminal was closed; finished work is saved",
    ExitCode.SIGINT: "interrupted; finished work is saved",
    ExitCode.SIGTERM: "terminated; finished work is saved",
}


class OssctlError(Exception):
    """An error for the user: a line about what is wrong, and a hint about what to do."""

    ends_at_once = False  # without the end of threads that hang
    exit_code = ExitCode.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(OssctlError):
    """Wrong usage or unreadable input."""

    exit_code = ExitCode.USAGE


class ModelError(OssctlError):
    """The model file is missing, incomplete, corrupt or not supported."""

    exit_code = ExitCode.MODEL


class MemoryShortage(OssctlError):
    """The model or its cache does not fit in memory."""

    exit_code = ExitCode.MEMORY


class Interrupted(OssctlError):
    """Stopped by the signal `signum`."""

    def __init__(self, signum: int, hint: str = "") -> None:
        super().__init__("interrupted", hint)
        self.exit_code = ExitCode(128 + signum)


class TooManyFailures(OssctlError):
    """A batch was stopped because too many lines have failed; `latest` is the error of `line`."""

    exit_code = ExitCode.SOME_FAILED

    def __init__(self, latest: str, line: int, failed: int, hint: str = "") -> None:
        lines = "line" if failed == 1 else "lines"
        super().__init__(f"stopped after {failed:,} failed {lines}; line {line}: {latest}", hint)


class NoHome(OssctlError):
    """This user has no home folder, as in a container whose user is in no passwd file."""

    def __init__(self) -> None:
        super().__init__(
            "this user has no home folder",
            "Set HOME, or OSSCTL_HOME to a folder for ossctl's files and HF_HOME to one for models.",
        )


class OutputLost(OssctlError):
    """Standard output cannot be written. What else is written to it is discarded."""


class OutputClosed(OutputLost):
    """The reader of the output has closed it, as `| head` does, and needs no more."""

    exit_code = ExitCode.DONE

    def __init__(self) -> None:
        super().__init__("")


def has_no_reader(error: OSError, descriptor: int) -> bool:
    """Whether a write failed because the reader of a pipe is gone, which Windows reports as EINVAL."""
    if isinstance(error, BrokenPipeError):
        return True
    return error.errno == errno.EINVAL and stat.S_ISFIFO(os.fstat(descriptor).st_mode)


class RequestError(OssctlError):
    """One request cannot be answered.

    `code` is for programs: `invalid_request`, `duplicate_id`, `template_failed`, `context_length_exceeded`,
    `schema_unsatisfied`, `repetition`, `timeout`, `generation_failed`, `engine_crashed`.
    """

    def __init__(self, message: str, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.code = code
