"""The one place that writes to the terminal: data to stdout, everything else to stderr."""

import logging
import sys

from ossctl.errors import OssctlError, OutputClosed


def say(text: str) -> None:
    """A line for the user, on stderr."""
    if sys.stderr is not None:  # `2>&-`
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def put(*lines: str) -> None:
    """Data for the user, on stdout. Raises OutputClosed if whoever read it has had enough."""
    try:
        for line in lines:
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = None  # or closing it at exit would complain again
        raise OutputClosed from None


def report(error: OssctlError) -> None:
    """What happened and what to do next, a line each."""
    say(f"ossctl: {error.message}")
    if error.hint:
        say(error.hint)


def show_log(verbosity: int) -> None:
    """Send the log to stderr: nothing, -v, or everything with -vv."""
    level = {0: logging.CRITICAL, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    logging.basicConfig(level=level, format="%(name)s: %(message)s", stream=sys.stderr)
