"""`ossctl batch status`: the progress of a batch, read from its output."""

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ossctl.app.batch.finished import MOST_TOKENS, last_of_each
from ossctl.app.batch.resume import OutputLines, read_records, spooled_records
from ossctl.app.batch.site_notes import RunSoFar, read_run
from ossctl.app.batch.written_record import Record
from ossctl.app.wire.chat_completions import custom_id_of, default_id
from ossctl.app.wire.source import Source, id_hash
from ossctl.errors import UsageError
from ossctl.storage.lock import is_locked

SCHEMA = "ossctl.batch-status/1"
_LEAST_ANSWERED = 2  # before the rest is estimated


@dataclass
class BatchStatus:
    """The contents of an output. `total` is the number of requests in the input, if that was given.

    `others` are records of requests that the input does not have, which count for nothing else. Of several
    records of a request the last one counts. `first` and `last` are the times of the first and last answer,
    in Unix seconds. `torn` is whether the output ends in an incomplete line, which --resume repairs. `run` is
    the present run, or a stopped one whose engines are in processes of their own.
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
    others: int = 0
    run: RunSoFar = field(default_factory=RunSoFar)

    @property
    def failed(self) -> int:
        return self.errors.total()

    @property
    def seconds_left(self) -> float | None:
        """The time for the rest of the input at the pace of this run, or None if it can't be estimated."""
        if self.total is None or not self.running or self.run.answered < _LEAST_ANSWERED:
            return None
        return max(0, self.total - self.done - self.failed) * self.run.seconds / self.run.answered

    @property
    def tokens_per_second(self) -> float | None:
        """Generated tokens per second in this run; None if the batch is not running."""
        known = self.running and self.run.seconds and self.run.completion_tokens
        return self.run.completion_tokens / self.run.seconds if known else None

    def document(self) -> dict[str, Any]:
        """The document of `--json`."""
        return {
            "schema": SCHEMA,
            "running": self.running,
            "total": self.total,
            "done": self.done,
            "failed": self.failed,
            "others": self.others,
            "errors": dict(sorted(self.errors.items())),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "first_created": self.first or None,
            "last_created": self.last or None,
            "seconds_left": self.seconds_left,
            "torn": self.torn,
            **({"sites": self.run.report()} if self.run.sites else {}),
        }


def read_status(path: Path, source: Source | None = None) -> BatchStatus:
    """Read the output at `path`, and count the requests in `source` and their records. Raises UsageError."""
    try:
        status = BatchStatus(running=is_locked(path), run=read_run(path))
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist yet") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    spooled = [record for record, _ in spooled_records(path)]
    lines = OutputLines(path)
    requests = None
    if source is not None:
        status.total, requests = _requests(source)
    _count(status, chain((record for record, _ in read_records(lines)), spooled), requests)
    status.torn = lines.tail.is_torn
    return status


def _requests(source: Source) -> tuple[int, "array[int]"]:
    """The number of requests, and the hashes of their ids: their own, and those of --assign-ids."""
    total, ids = 0, array("Q")
    for line in source.shard_lines():
        total += 1
        ids.extend({id_hash(custom_id_of(line)), id_hash(default_id(line))})
    return total, ids


def _count(status: BatchStatus, records: Iterable[Record], requests: "array[int] | None") -> None:
    """Count the last record of each id, of `requests` if they are known. Takes 30 bytes per record."""
    ids, times, codes = array("Q"), array("Q"), array("i")
    prompts, generated = array("I"), array("I")
    known: dict[str | None, int] = {None: 0}  # codes of errors
    for record in records:
        ids.append(id_hash(record.custom_id))
        times.append(max(0, record.time))
        codes.append(known.setdefault(record.error.code if record.error else None, len(known)))
        prompts.append(min(max(0, record.n_prompt), MOST_TOKENS))
        generated.append(min(max(0, record.n_generated), MOST_TOKENS))
    last = last_of_each(np.asarray(ids))
    if requests is not None:
        ours = last[np.isin(np.asarray(ids)[last], np.asarray(requests))]
        status.others, last = len(last) - len(ours), ours
    ends = np.bincount(np.asarray(codes)[last], minlength=len(known)).tolist()
    status.done, *failed = ends
    status.errors = Counter({code: n for code, n in zip([*known][1:], failed, strict=True) if code and n})
    status.prompt_tokens = int(np.asarray(prompts)[last].sum(dtype=np.int64))
    status.completion_tokens = int(np.asarray(generated)[last].sum(dtype=np.int64))
    answered = np.asarray(times)[last]
    answered = answered[answered > 0]
    if len(answered):
        status.first, status.last = int(answered.min()), int(answered.max())
