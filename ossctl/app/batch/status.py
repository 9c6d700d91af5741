"""`ossctl batch status`: how far a batch is, from its output alone."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ossctl.app.batch.resume import Lines, Record, left_waiting, records_of
from ossctl.app.wire.source import Source
from ossctl.errors import UsageError
from ossctl.storage.lock import is_locked

SCHEMA = "ossctl.batch-status/1"


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Body(msgspec.Struct):
    created: int = 0
    usage: _Usage = msgspec.field(default_factory=_Usage)


class _Response(msgspec.Struct):
    body: _Body


class _Answer(msgspec.Struct):
    """What an answer tells of its time and tokens, in either form."""

    response: _Response | None = None
    created: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def body(self) -> _Body:
        if self.response is not None:
            return self.response.body
        return _Body(self.created, _Usage(self.prompt_tokens, self.completion_tokens))


_decoder = msgspec.json.Decoder(_Answer)


@dataclass
class Status:
    """What an output holds. `total` is how many requests the input has, None if it was not given.

    `first` and `last` are when answers were finished, in seconds since 1970; `torn` is whether the last
    line is not whole, which the next --resume repairs.
    """

    running: bool
    done: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first: int = 0
    last: int = 0
    torn: bool = False
    total: int | None = None

    @property
    def failed(self) -> int:
        return self.errors.total()

    @property
    def seconds_left(self) -> float | None:
        """For the rest of the input at the pace so far; None if that cannot be told."""
        finished, span = self.done + self.failed, self.last - self.first
        if self.total is None or not self.running or self.done < 2 or not span:
            return None
        return max(0, self.total - finished) * span / finished

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "schema": SCHEMA,
            "running": self.running,
            "total": self.total,
            "done": self.done,
            "failed": self.failed,
            "errors": dict(sorted(self.errors.items())),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "first_created": self.first or None,
            "last_created": self.last or None,
            "seconds_left": self.seconds_left,
            "torn": self.torn,
        }


def status_of(path: Path, source: Source | None = None) -> Status:
    """What the output at `path` holds by now. Raises UsageError for a file that is none."""
    try:
        status = Status(running=is_locked(path))
    except FileNotFoundError:
        raise UsageError(f"there is no file {path} yet") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    waiting = {record.custom_id: (record, line) for record, line in left_waiting(path)}
    lines = Lines(path)
    for record, line in records_of(lines):
        waiting.pop(record.custom_id, None)
        _count(status, record, line)
    for record, line in waiting.values():
        _count(status, record, line)
    status.torn = bool(lines.torn.rest) or lines.torn.broken
    if source is not None:
        status.total = sum(1 for _ in source.lines())
    return status


def _count(status: Status, record: Record, line: bytes) -> None:
    if record.error is not None:
        status.errors[record.error.code] += 1
        return
    body = _decoder.decode(line).body
    status.done += 1
    status.prompt_tokens += body.usage.prompt_tokens
    status.completion_tokens += body.usage.completion_tokens
    status.first = min(status.first or body.created, body.created)
    status.last = max(status.last, body.created)
