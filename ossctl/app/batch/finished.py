"""What an output has for each request."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
import numpy.typing as npt

from ossctl.app.batch.records import ID_PREFIX_1, ResultRecords
from ossctl.app.batch.written_record import Record
from ossctl.app.wire.request_key import RequestKey
from ossctl.app.wire.source import id_hash

_MAX_LIMITS = 8  # different ones that cut answers of version 1
MOST_TOKENS = (1 << 32) - 1  # that are counted of a record

_COMPLETE, _CUT, _FAILED = range(3)  # how a record ends


class RecordState(Enum):
    """What an output has for a request."""

    MISSING = auto()
    DONE = auto()
    FAILED = auto()
    CUT = auto()  # an answer that was cut, and would get longer now
    CHANGED = auto()  # a record of the same id, but for another request or model


@dataclass(frozen=True)
class Wanted:
    """A request: the ids that its record can have, and its limits in tokens.

    An id of version 1 depends on `max_tokens`; it is empty if that had no such request. `n_ctx` limits prompt
    and answer together.
    """

    answer: str
    failure: Callable[[], str]
    version_1: Callable[[int | None], str] = lambda _: ""
    max_tokens: int | None = None
    n_ctx: int = MOST_TOKENS


def wanted(records: ResultRecords, custom_id: str, key: RequestKey, n_ctx: int) -> Wanted:
    """What to look for in an output for the request `custom_id`."""

    def version_1(max_tokens: int | None) -> str:
        hashed = key.version_1(max_tokens)
        return records.id_of(custom_id, hashed, ID_PREFIX_1) if hashed else ""

    def failure() -> str:
        return records.id_of(custom_id, key.failure)

    return Wanted(records.id_of(custom_id, key.answer), failure, version_1, key.max_tokens, n_ctx)


class FinishedRequests:
    """The last record of each id, as hashes and numbers: 26 bytes per id.

    `spooled` are records by id that are finished but not in the output yet. `replaced` counts the records
    that a later one of the same id replaces.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        ids, hashes, ends = array("Q"), array("Q"), array("b")
        prompts, longest = array("I"), array("I")
        limits: Counter[int] = Counter()
        for record in records:
            ids.append(id_hash(record.custom_id))
            hashes.append(_hash_in(record.id))
            ends.append(_FAILED if record.failed else _CUT if record.cut else _COMPLETE)
            prompts.append(min(max(0, record.n_prompt), MOST_TOKENS))
            longest.append(min(max(0, record.longest), MOST_TOKENS))
            if record.is_of_version_1 and record.cut:
                limits[record.longest] += 1
        last = last_of_each(np.asarray(ids))
        self._ids, self._hashes = np.asarray(ids)[last], np.asarray(hashes)[last]
        self._ends = np.asarray(ends, np.int8)[last]
        self._prompts, self._longest = np.asarray(prompts)[last], np.asarray(longest)[last]
        self._limits = [limit for limit, _ in limits.most_common(_MAX_LIMITS)]
        self._looked_up = np.zeros(len(last), np.bool_)
        self.count = len(last)
        self.replaced = len(ids) - len(last)
        self.spooled: dict[str, bytes] = {}

    def look_up(self, custom_id: str, wanted: Wanted) -> RecordState:
        """The state of the request `custom_id`."""
        hashed = np.uint64(id_hash(custom_id))
        index = int(self._ids.searchsorted(hashed))
        if index == self.count or self._ids[index] != hashed:
            return RecordState.MISSING
        self._looked_up[index] = True
        if self._ends[index] == _FAILED:
            ids = (wanted.failure(), wanted.version_1(wanted.max_tokens))
            same = any(self._has_id(index, each) for each in ids)
            return RecordState.FAILED if same else RecordState.CHANGED
        return self._state_of_answer(index, wanted)

    def orphaned_failures(self) -> int:
        """Count failures whose ids were never looked up: their lines were corrected or removed."""
        return int(np.count_nonzero((self._ends == _FAILED) & ~self._looked_up))

    def _state_of_answer(self, index: int, wanted: Wanted) -> RecordState:
        bounds = [int(self._longest[index])]
        if not self._has_id(index, wanted.answer):
            earlier = (wanted.max_tokens, None, *self._limits)
            limits = [limit for limit in earlier if self._has_id(index, wanted.version_1(limit))]
            if not limits:
                return RecordState.CHANGED
            bounds += filter(None, limits[:1])
        longest, limit = min(bounds), MOST_TOKENS if wanted.max_tokens is None else wanted.max_tokens
        if longest > limit:
            return RecordState.CHANGED
        space = wanted.n_ctx + 1 - int(self._prompts[index])  # the last token needs no cell
        cut = self._ends[index] == _CUT and longest < min(limit, space)
        return RecordState.CUT if cut else RecordState.DONE

    def _has_id(self, index: int, record_id: str) -> bool:
        return bool(record_id) and self._hashes[index] == _hash_in(record_id)


def last_of_each(ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
    """The index of the last occurrence of each id, in the order of the ids."""
    order = np.argsort(ids, kind="stable")
    is_last = np.ones(len(ids), np.bool_)
    is_last[:-1] = ids[order[1:]] != ids[order[:-1]]
    return order[is_last]


def _hash_in(record_id: str) -> int:
    """The first 8 bytes of the hash in a record's id."""
    try:
        return int(record_id.rpartition("_")[2][:16], 16)
    except ValueError:
        return 0
