"""Ends the process of a site, with all that it has started."""

import os
import signal
import sys
from collections.abc import Callable
from threading import Timer

_CLOSING_SECONDS = 0.5  # for the tools' programs


def end_process(*last_acts: Callable[[], None]) -> None:
    """Do what is given, and end the process, soon even if that hangs."""
    timer = Timer(_CLOSING_SECONDS, _exit)
    timer.daemon = True
    timer.start()
    try:
        for act in last_acts:
            act()
    finally:
        _exit()


def _exit() -> None:
    if sys.platform != "win32" and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # with all that it has started
    os._exit(1)
