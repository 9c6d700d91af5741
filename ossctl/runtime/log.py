"""llama.cpp's log, routed into `logging`."""

import ctypes
import functools
import logging
import re
from collections import defaultdict, deque

from ossctl.runtime.bindings import lib
from ossctl.runtime.crash import crash_reporter

_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.INFO, 4: logging.INFO}
_DEBUG = 1  # GGML_LOG_LEVEL_DEBUG
_ERROR = 4  # GGML_LOG_LEVEL_ERROR
_CONTINUES = 5  # GGML_LOG_LEVEL_CONT
_BUFFER = re.compile(r": +(\S+) (model|KV|RS|compute|output) buffer size = +([\d.]+) MiB")


class LlamaLog:
    """Keeps the last complaints for error messages and hands every line to `logging`.

    llama.cpp reports a failed load only through its log, so that is where the reason is read. Its lines
    go one level down, for what matters in them reaches the user as an exception.
    """

    def __init__(self) -> None:
        self._logger = logging.getLogger("ossctl.llama")
        self._level = 0
        self._complaints: deque[str] = deque(maxlen=8)
        self._latest: deque[str] = deque(maxlen=100)
        self._buffers: dict[tuple[str, str], float] = defaultdict(float)
        self._callback = lib.llama_log_callback(self._receive)  # llama.cpp keeps the pointer, not the object

    def install(self) -> None:
        lib.llama_log_set(self._callback, ctypes.c_void_p(0))

    def clear(self) -> None:
        """Forget what was said earlier, before a call that is to be explained."""
        self._complaints.clear()
        self._buffers.clear()

    def buffers(self) -> dict[tuple[str, str], int]:
        """Bytes of the buffers that llama.cpp has reported since `clear`, by buffer type and purpose.

        Purposes are llama.cpp's: model, KV, RS (recurrent states), compute, output.
        """
        return {key: int(mib * 1024 * 1024) for key, mib in self._buffers.items()}

    def reason(self) -> str:
        """The first complaint since `clear`, which is the cause of those that follow; or ''."""
        return self._complaints[0] if self._complaints else ""

    def latest(self) -> list[str]:
        """The last lines, whatever was cleared."""
        return list(self._latest)

    def _receive(self, level: int, text: bytes, _data: object) -> None:
        if level != _CONTINUES:
            self._level = level
        line = text.decode("utf-8", "replace").strip()
        if self._level > _DEBUG:
            self._latest.append(line)
        if line and self._level == _ERROR:
            self._complaints.append(_without_function_name(line))
        if found := _BUFFER.search(line):
            self._buffers[found[1], found[2]] += float(found[3])
        if line and line != ".":
            self._logger.log(_LEVELS.get(self._level, logging.DEBUG), "%s", line)


def _without_function_name(line: str) -> str:
    """`llama_model_load: error loading model: …` begins with a function's name."""
    head, colon, rest = line.partition(": ")
    return rest if colon and " " not in head else line


@functools.cache
def llama_log() -> LlamaLog:
    """The process's one log of llama.cpp, routed at the first call, and with it the report of crashes."""
    log = LlamaLog()
    log.install()
    crash_reporter().install(log.latest)
    return log
