"""What Inspect and its tasks print belongs into the log."""

import io
import logging

_log = logging.getLogger(__name__)


class LogLines(io.TextIOBase):
    """A stream whose lines are logged."""

    def write(self, text: str) -> int:
        if text.strip():
            _log.info("%s", text.rstrip())
        return len(text)
