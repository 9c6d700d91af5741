"""`ossctl batch status`: the progress of a batch, read from its output."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ossctl.app.batch.resume import OutputLines, read_records, spooled_records
from ossctl.app.batch.site_notes import SitesSoFar, read_sites
from ossctl.app.batch.written_record import Record
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
    """The time and the token counts in a record, OpenAI's or flat."""

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
class BatchStatus:
    """The contents of an output. `total` is the number of requests in the input, if that was given.

    `first` and `last` are the times of the first and last answer, in Unix seconds. `torn` is whether the
    output ends in an incomplete line, which --resume repairs. `by_site` is of the present or last run, if its
    engines are in processes of their own.
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
    by_site: SitesSoFar = field(default_factory=SitesSoFar)

    @property
    def failed(self) -> int:
        return self.errors.total()

    @property
    def seconds_left(self) -> float | None:
        """The time for the rest of the input at the average pace so far, or None if it can't be estimated."""
        finished, span = self.done + self.failed, self.last - self.first
        if self.total is None or not self.running or self.done < 2 or not span:
            return None
        return max(0, self.total - finished) * span / finished

    def document(self) -> dict[str, Any]:
        """The document of `--json`."""
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
            **({"sites": self.by_site.report()} if self.by_site.sites else {}),
        }


def read_status(path: Path, source: Source | None = None) -> BatchStatus:
    """Read the output at `path`, and count the requests in `source`. Raises UsageError."""
    try:
        status = BatchStatus(running=is_locked(path), by_site=read_sites(path))
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist yet") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    spooled = {record.custom_id: (record, line) for record, line in spooled_records(path)}
    lines = OutputLines(path)
    for record, line in read_records(lines):
        spooled.pop(record.custom_id, None)
        _count(status, record, line)
    for record, line in spooled.values():
        _count(status, record, line)
    status.torn = lines.tail.is_torn
    if source is not None:
        status.total = source.count()
    return status


def _count(status: BatchStatus, record: Record, line: bytes) -> None:
    if record.error is not None:
        status.errors[record.error.code] += 1
        return
    body = _decoder.decode(line).body
    status.done += 1
    status.prompt_tokens += body.usage.prompt_tokens
    status.completion_tokens += body.usage.completion_tokens
    status.first = min(status.first or body.created, body.created)
    status.last = max(status.last, body.created)
