"""Why a process has died, in one line, from the way in which it ended and its last lines on stderr."""

import re
from collections.abc import Sequence

_REPORTED = re.compile(r"ossctl: (?P<cause>.*?)\.?")  # by `CrashReporter`
_SIGNAL_ONLY = re.compile(r".*crashed: SIG[A-Z]+")
_MAX_LENGTH = 200  # characters


def cause_of(reason: str, stderr: str) -> str:
    """`llama.cpp crashed: test.c:7: GGML_ASSERT(0) failed`, or the reason and the last line of stderr.

    For a reported signal, the line before the report is added: there the C++ runtime prints exceptions.
    """
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return reported_cause(lines) or _joined(reason, lines[-1:])


def reported_cause(lines: Sequence[str]) -> str:
    """What the process itself reported as the end of its engine; "" if it did not."""
    for at in reversed(range(len(lines))):
        if reported := _REPORTED.fullmatch(lines[at]):
            cause, before = reported["cause"], lines[:at]
            return _joined(cause, before[-1:] if _SIGNAL_ONLY.fullmatch(cause) else [])
    return ""


def _joined(cause: str, said: Sequence[str]) -> str:
    return ": ".join([cause, *said])[:_MAX_LENGTH]
