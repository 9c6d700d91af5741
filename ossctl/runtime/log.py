"""llama.cpp's log, routed into `logging`.

llama.cpp reports on the thread that calls it. One thread may load a model while another decodes or reads
headers, so what explains a call is kept per thread. Only the latest lines, for crash reports, are shared.
"""

import ctypes
import functools
import logging
import re
import threading
from collections import defaultdict, deque

from ossctl.runtime.bindings import lib
from ossctl.runtime.crash import crash_reporter

_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.INFO, 4: logging.INFO}
_DEBUG = 1  # GGML_LOG_LEVEL_DEBUG
_ERROR = 4  # GGML_LOG_LEVEL_ERROR
_CONTINUES = 5  # GGML_LOG_LEVEL_CONT
_BUFFER = re.compile(r": +(\S+) (model|KV|RS|compute|output) buffer size = +([\d.]+) MiB")


class _Reports(threading.local):
    """What llama.cpp has reported on one thread."""

    def __init__(self) -> None:
        self.level = 0
        self.reason = ""
        self.mib: dict[tuple[str, str], float] = defaultdict(float)


class LlamaLog:
    """Keeps reasons for error messages and passes every line to `logging`.

    llama.cpp explains a failed load only in its log, so the reason is read from there. Lines are logged one
    level lower than llama.cpp's, because what matters in them reaches the user as an exception.
    """

    def __init__(self) -> None:
        self._logger = logging.getLogger("ossctl.llama")
        self._reports = _Reports()
        self._latest: deque[str] = deque(maxlen=100)
        self._callback = lib.llama_log_callback(self._receive)  # llama.cpp keeps the pointer, not the object

    def install(self) -> None:
        lib.llama_log_set(self._callback, ctypes.c_void_p(0))

    def clear(self) -> None:
        """Forget this thread's earlier reports, before a call that is to be explained."""
        self._reports.reason = ""
        self._reports.mib.clear()

    def buffers(self) -> dict[tuple[str, str], int]:
        """Bytes of the buffers reported on this thread since `clear`, by buffer type and purpose.

        Purposes are llama.cpp's: model, KV, RS (recurrent states), compute, output.
        """
        return {key: int(mib * 1024 * 1024) for key, mib in self._reports.mib.items()}

    def reason(self) -> str:
        """The first error on this thread since `clear`, which causes those that follow; or ''."""
        return self._reports.reason

    def latest(self) -> list[str]:
        """The latest lines of all threads, cleared or not."""
        return list(self._latest)

    def _receive(self, level: int, text: bytes, _data: object) -> None:
        reports = self._reports
        if level != _CONTINUES:
            reports.level = level
        line = text.decode("utf-8", "replace").strip()
        if not line:
            return
        if reports.level > _DEBUG:
            self._latest.append(line)
        if reports.level == _ERROR:
            reports.reason = reports.reason or _without_function_name(line)
        if found := _BUFFER.search(line):
            reports.mib[found[1], found[2]] += float(found[3])
        if line != ".":  # progress of a load
            self._logger.log(_LEVELS.get(reports.level, logging.DEBUG), "%s", line)


def _without_function_name(line: str) -> str:
    """The text after `llama_model_load: ` and the like."""
    name, colon, rest = line.partition(": ")
    return rest if colon and " " not in name else line


@functools.cache
def llama_log() -> LlamaLog:
    """The process's log of llama.cpp. The first call routes it and installs the crash reporter."""
    log = LlamaLog()
    log.install()
    crash_reporter().install(log.latest)
    return log
