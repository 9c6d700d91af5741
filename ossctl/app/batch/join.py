"""`ossctl batch join`: merges the outputs of shards into one, in the order of their input."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from ossctl.app.batch.finalize import ranks
from ossctl.app.batch.shard_gaps import Gap, shard_gaps
from ossctl.app.batch.written_outputs import Rows, WrittenOutputs, best, ids_of
from ossctl.app.wire.lines import Line
from ossctl.app.wire.source import Source, Survey
from ossctl.errors import ExitCode, UsageError
from ossctl.storage.compression import encode_in_blocks, encoder_for
from ossctl.storage.journal import (
    FilePolicy,
    Journal,
    OutputFile,
    check_output_path,
    is_regular,
    stdout_journal,
)

_MAX_SHOWN = 5  # ids
_EXISTS_HINT = "Choose another file with -o, or replace it with --overwrite."

_Positions = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Joined:
    """The result of a join. Counts are of the requests of the input; the ids are the first few.

    Of `missing` ones no output has a record, by shard in `gaps` if that can be told. For `repeated` ones
    several outputs have an answer. `strangers` are records that belong to no request. `models` are counted
    over the answers.
    """

    total: int
    failed: int
    missing: int
    missing_ids: Sequence[str]
    gaps: Sequence[Gap]
    repeated: int
    strangers: int
    stranger_ids: Sequence[str]
    models: Counter[str] = field(default_factory=Counter)
    absent: Sequence[Path] = ()
    torn: Sequence[Path] = ()

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.SOME_FAILED if self.missing or self.failed else ExitCode.DONE


@dataclass(frozen=True)
class JoinJob:
    """The outputs of a batch's shards, its input, and where to write all records; stdout if `target` is None.

    `id_of` returns the id of a line.
    """

    outputs: Sequence[Path]
    source: Source
    id_of: Callable[[Line], str]
    target: Path | None = None
    overwrite: bool = False

    def run(self) -> Joined:
        """Write one record for each request of which there is one. Raises OssctlError."""
        self._check()
        survey = self.source.survey(self.id_of)
        scratch = self.target.resolve().parent if self.target and is_regular(self.target) else None
        with contextlib.closing(WrittenOutputs(self.outputs, scratch)) as outputs:
            if len(outputs.absent) == len(self.outputs):
                raise UsageError(f"{self.outputs[0]} does not exist")
            chosen = best(outputs.rows)
            positions = ranks(chosen["id"], survey.ids)
            in_order = np.argsort(positions, kind="stable")[: np.count_nonzero(positions < survey.count)]
            kept = chosen[in_order]
            self._write(outputs.records(kept))
            strangers = chosen[positions == survey.count]
            missing = np.setdiff1d(np.arange(survey.count), positions, assume_unique=False)
            return Joined(
                total=survey.count,
                failed=int(np.count_nonzero(kept["failed"])),
                missing=len(missing),
                missing_ids=self._ids_at(missing[:_MAX_SHOWN], survey),
                gaps=shard_gaps(_by_output(outputs.rows, survey, self.outputs), missing, survey.count),
                repeated=_repeated(outputs.rows, survey),
                strangers=len(strangers),
                stranger_ids=ids_of(outputs, strangers[:_MAX_SHOWN]),
                models=_models(kept, outputs.models),
                absent=outputs.absent,
                torn=outputs.torn,
            )

    def _check(self) -> None:
        """Raise UsageError for files that can't be used together."""
        if not self.source.is_rereadable:
            raise UsageError(f"{self.source.name} is not a file", "Give the input of the batch as a file.")
        given: list[Path] = []
        for path in filter(Path.exists, self.outputs):
            if any(path.samefile(other) for other in given):
                raise UsageError(f"{path} is given twice")
            given.append(path)
        if self.target is None:
            return
        check_output_path(self.target, overwrite=self.overwrite, exists_hint=_EXISTS_HINT)
        inputs = [*given, *filter(None, [self.source.path])]
        if is_regular(self.target) and any(_is_same(self.target, each) for each in inputs):
            raise UsageError(f"{self.target} is one of the files to join", "Choose another file with -o.")

    def _write(self, records: Iterator[bytes]) -> None:
        path = self.target
        if path is not None and is_regular(path):
            _replace(path, records, overwrite=self.overwrite)
            return
        journal = Journal(lambda: path.open("wb", buffering=0), str(path)) if path else stdout_journal()
        with journal:
            for record in records:
                journal.append(record)

    def _ids_at(self, positions: _Positions, survey: Survey) -> list[str]:
        wanted = set(positions.tolist())
        lines = enumerate(self.source.selected(survey)) if wanted else ()
        return [self.id_of(line) for position, line in lines if position in wanted]


def _is_same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


def _replace(path: Path, records: Iterable[bytes], *, overwrite: bool) -> None:
    """Write an output atomically. Raises UsageError if it exists, unless `overwrite`, and OssctlError."""
    encoder = encoder_for(path)

    def write(file: BinaryIO) -> None:
        file.writelines(encode_in_blocks((record + b"\n" for record in records), encoder))
        file.write(encoder.finish())

    with OutputFile(FilePolicy(path), overwrite=overwrite) as output:
        output.create()
        output.replace(write)


def _by_output(rows: Rows, survey: Survey, outputs: Sequence[Path]) -> dict[Path, _Positions]:
    """The sorted positions in the input of each output's records."""
    positions = ranks(rows["id"], survey.ids)
    bounds = np.searchsorted(rows["output"], np.arange(1, len(outputs)))
    parts = (np.sort(part[part < survey.count]) for part in np.split(positions, bounds))
    return dict(zip(outputs, parts, strict=True))


def _repeated(rows: Rows, survey: Survey) -> int:
    answers = rows["id"][~rows["failed"]]
    ids, counts = np.unique(answers, return_counts=True)
    return int(np.count_nonzero(ranks(ids[counts > 1], survey.ids) < survey.count))


def _models(rows: Rows, names: Sequence[str]) -> Counter[str]:
    counts = np.bincount(rows["model"], minlength=len(names)).tolist()
    return Counter({name: count for name, count in zip(names, counts, strict=True) if name and count})
