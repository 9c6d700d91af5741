"""Limits that a process sets for itself, before it reads what may need any amount of time and memory."""

import contextlib
import sys


def limit_process(max_memory: int, seconds: int) -> None:
    """Limit memory in bytes, and CPU time, which also ends a process whose parent was killed.

    Windows has no such limits.
    """
    if sys.platform != "win32":
        import resource

        for kind, limit in ((resource.RLIMIT_AS, max_memory), (resource.RLIMIT_CPU, seconds)):
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(kind, (limit, limit))
