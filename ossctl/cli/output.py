"""The one place that writes to the terminal: data to stdout, everything else to stderr."""

import logging
import sys

from ossctl.errors import OssctlError


def say(text: str) -> None:
    """A line for the user, on stderr."""
    if sys.stderr is not None:  # `2>&-`
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def report(error: OssctlError) -> None:
    """What happened and what to do next, a line each."""
    say(f"ossctl: {error.message}")
    if error.hint:
        say(error.hint)


def show_log(verbosity: int) -> None:
    """Send the log to stderr: nothing, -v, or everything with -vv."""
    level = {0: logging.CRITICAL, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    logging.basicConfig(level=level, format="%(name)s: %(message)s", stream=sys.stderr)
