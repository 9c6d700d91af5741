"""BatchRunner with a scripted model: bounded reading, streaming output, isolated failures."""

import datetime as dt
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ossctl.app.batch.line_parser import LineParser
from ossctl.app.batch.line_runner import Codec, Rules
from ossctl.app.batch.records import ModelIdentity, ResultRecords
from ossctl.app.batch.runner import BatchRunner
from ossctl.app.batch.summary import BatchSummary
from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.wire.chat_completions import custom_id_of
from ossctl.app.wire.lines import Line, read_lines
from ossctl.app.wire.source import Source
from ossctl.dialect import Answer, Conversation, Effort, Event
from ossctl.errors import OssctlError, UsageError
from ossctl.guide import Guide
from ossctl.runtime.base import Chunk, Logits
from ossctl.storage.journal import FilePolicy, OutputFile
from tests.support.scripted import ScriptedRunner

END = 0
SLEEP = {"type": "function", "function": {"name": "sleep"}}
STATUS = Path("/proc/self/status")


class BytesDialect:
    """Prompts are the bytes of the last message; answers are bytes."""

    default_effort: Effort | None = None
    reasoning_settings: frozenset[str] = frozenset()
    takes_tools: bool = False
    end_ids = frozenset([END])

    def render(self, conversation: Conversation) -> list[int]:
        return list(conversation.messages[-1].content.encode())

    def render_prefix(self, conversation: Conversation, draft: str = "") -> list[int]:
        return list(draft.encode())

    def parser(self, prompt: Sequence[int], conversation: Conversation) -> "BytesParser":
        return BytesParser()

    def guide(self, conversation: Conversation, prompt: Sequence[int]) -> Guide | None:
        return None


class BytesParser:
    reasoning_tokens = 0
    answering = True

    def feed(self, token: int) -> Sequence[Event]:
        return (Answer(chr(token)),) if token != END else ()

    def close(self, *, cut: bool) -> Sequence[Event]:
        return ()


class EndingRunner(ScriptedRunner):
    """Ends every answer at once."""

    def _row(self, seq: int) -> Logits:
        row = np.zeros(self.n_vocab, np.float32)
        row[END] = 100
        return row


def run(
    lines: Any, runner: ScriptedRunner, path: Path, defaults: Defaults | None = None
) -> tuple[BatchSummary, list[dict[str, Any]]]:
    summary = answer(read_lines(lines), runner, path, defaults)
    return summary, [json.loads(line) for line in path.read_text().splitlines()]


def answer(
    lines: Iterator[Line],
    runner: ScriptedRunner,
    path: Path,
    defaults: Defaults | None = None,
    *,
    surveyed: bool = False,
) -> BatchSummary:
    loaded = LoadedModel("scripted", runner, BytesDialect(), lambda token: bytes([token]))
    codec = Codec(
        LineParser(defaults or Defaults()),
        ResultRecords(ModelIdentity("scripted", b"scripted", loaded.piece)),
    )
    with (
        OutputFile(FilePolicy(path), overwrite=True) as output,
        output.journal() as journal,
        Interrupt() as interrupt,
    ):
        batch = BatchRunner(loaded, codec, journal, lambda _: None, Rules())
        return batch.run(lines, interrupt, ids_are_unique=surveyed)


def test_every_line_gets_one_record(tmp_path: Path) -> None:
    lines = [b'{"prompt": "%d", "max_tokens": 3}' % n for n in range(50)]
    lines[7], lines[23] = b"nonsense", b'{"prompt": ""}'
    runner = ScriptedRunner(n_vocab=256, n_seq=4)
    summary, records = run(io.BytesIO(b"\n".join(lines)), runner, tmp_path / "out")
    assert sorted(record["custom_id"] for record in records) == sorted(f"line-{n + 1}" for n in range(50))
    assert (summary.done, summary.failed, summary.exit_code) == (48, 2, 3)
    failed = [record["error"]["line"] for record in records if record["error"]]
    assert sorted(failed) == [8, 24]


def test_effort_and_date_options_apply_to_lines_that_set_none(tmp_path: Path) -> None:
    lines = io.BytesIO(b'{"prompt": "x"}\n{"prompt": "x", "reasoning_effort": "low", "date": "2025-12-24"}')
    defaults = Defaults(dt.date(2026, 1, 31), "medium")
    _, records = run(lines, EndingRunner(n_vocab=256), tmp_path / "out", defaults)
    settings = [record["response"]["body"]["settings"] for record in records]
    assert sorted(settings, key=lambda setting: int(setting["seed"])) == [
        {"seed": 1, "reasoning_effort": "medium", "date": "2026-01-31"},
        {"seed": 2, "reasoning_effort": "low", "date": "2025-12-24"},
    ]


def test_an_answer_that_does_not_fit_its_schema_is_an_error(tmp_path: Path) -> None:
    """The scripted model has no grammar, so its empty answers are not even JSON."""
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
    lines = io.BytesIO(json.dumps({"prompt": "x", "response_format": schema}).encode())
    summary, (record,) = run(lines, EndingRunner(n_vocab=256), tmp_path / "out")
    assert (summary.done, summary.failed) == (0, 1)
    assert record["error"]["code"] == "schema_unsatisfied"
    assert record["error"]["message"].startswith(
        "line 1: after 3 attempts, the answer does not fit the schema: "
    )


@pytest.mark.parametrize(
    ("wanted", "how"),
    [
        ({}, ""),
        ({"response_format": {"type": "json_object"}}, "reached its token limit"),
        ({"tools": [SLEEP], "tool_choice": "auto"}, ""),
        ({"tools": [SLEEP], "tool_choice": "required"}, "reached its token limit"),
        ({"response_format": {"type": "json_object"}, "stop": "x"}, "reached a stop string"),
        ({"stop": "x"}, ""),
    ],
)
def test_a_cut_answer_is_an_error_if_it_had_to_be_json(
    wanted: dict[str, Any], how: str, tmp_path: Path
) -> None:
    line = {"prompt": "Hi", "max_tokens": 3, "logit_bias": {str(END): -100, str(ord("x")): 100}, **wanted}
    _, (record,) = run(io.BytesIO(json.dumps(line).encode()), ScriptedRunner(n_vocab=256), tmp_path / "out")
    if how:
        message = f"line 1: the answer {how} before its JSON was complete"
        assert record["error"] == {"code": "schema_unsatisfied", "message": message, "line": 1}
    else:
        assert record["error"] is None


def test_reading_is_bounded_and_records_are_written_at_once(tmp_path: Path) -> None:
    path = tmp_path / "out"
    ahead = []

    class Source(io.RawIOBase):
        """1,000 lines that note how many records are written when each is read."""

        def __init__(self) -> None:
            self.read_so_far = 0

        def readline(self, _limit: int | None = -1, /) -> bytes:
            if self.read_so_far == 1000:
                return b""
            self.read_so_far += 1
            written = path.read_bytes().count(b"\n") if path.exists() else 0
            ahead.append(self.read_so_far - written)
            return b'{"prompt": "x", "max_tokens": 1}\n'

    run(Source(), EndingRunner(n_vocab=256, n_seq=2), path)
    assert max(ahead) <= 64 + 2  # the places in flight, one being read, one being written


class BreakingOff(io.RawIOBase):
    """Three lines and then an error."""

    def __init__(self, error: Exception) -> None:
        self._lines = iter([b'{"prompt": "x"}\n'] * 3)
        self._error = error

    def readline(self, _limit: int | None = -1, /) -> bytes:
        try:
            return next(self._lines)
        except StopIteration:
            raise self._error from None


def test_an_input_that_breaks_off_is_answered_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(UsageError, match=r"the rest of the input: Input/output error"):
        run(BreakingOff(OSError(5, "Input/output error")), EndingRunner(n_vocab=256), path)
    assert len(path.read_text().splitlines()) == 3


def test_an_unexpected_error_of_the_reader_reaches_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run(BreakingOff(ZeroDivisionError()), EndingRunner(n_vocab=256), tmp_path / "out")


def test_a_failing_model_ends_the_batch_and_keeps_written_records(tmp_path: Path) -> None:
    class FailingRunner(EndingRunner):
        def decode(self, chunks: Sequence[Chunk]) -> Logits:
            if len(self.decoded) == 3:
                self.fail_next = True
            return super().decode(chunks)

    path = tmp_path / "out"
    lines = io.BytesIO(b'{"prompt": "x"}\n' * 20)
    with pytest.raises(OssctlError, match="failed to decode"):
        run(lines, FailingRunner(n_vocab=256, n_seq=1), path)
    assert len(path.read_text().splitlines()) == 3


def test_an_unexpected_error_in_the_engine_reaches_the_caller(tmp_path: Path) -> None:
    class BuggyRunner(EndingRunner):
        def decode(self, chunks: Sequence[Chunk]) -> Logits:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(io.BytesIO(b'{"prompt": "x"}\n'), BuggyRunner(n_vocab=256), tmp_path / "out")


def peak_rss_mib(n_lines: int, folder: Path) -> float:
    """Of a fresh process that answers `n_lines` lines."""
    source = folder / f"{n_lines}.jsonl"
    with source.open("w") as file:
        for number in range(n_lines):
            file.write(f'{{"custom_id": "request {number}", "prompt": "Summarise text {number}"}}\n')
    command = [sys.executable, __file__, str(source), str(folder / f"{n_lines}.out")]
    path = os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    lines = (folder / f"{n_lines}.out").read_bytes().count(b"\n")
    assert lines == n_lines
    return float(done.stdout)


@pytest.mark.skipif(not STATUS.exists(), reason="/proc is missing")
@pytest.mark.parametrize(
    "n_lines",
    [10_000, pytest.param(200_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_memory_does_not_grow_with_the_input(n_lines: int, tmp_path: Path) -> None:
    assert peak_rss_mib(n_lines, tmp_path) - peak_rss_mib(200, tmp_path) < 20


def main() -> None:
    """The process whose memory is measured."""
    source, sink = map(Path, sys.argv[1:])
    runner = EndingRunner(n_vocab=256, n_seq=16, n_batch=512, n_ctx_seq=128)
    runner.decoded = _Forgetful()
    job = Source(source)
    survey = job.survey(custom_id_of)
    answer(job.selected(survey), runner, sink, surveyed=True)
    print(own_peak_mib())


def own_peak_mib() -> float:
    """Not getrusage's, which begins with the parent's pages before exec."""
    peak = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


class _Forgetful(list[list[Chunk]]):
    """The double's own record of decodes would grow with the input."""

    def append(self, _chunks: list[Chunk]) -> None:
        pass


if __name__ == "__main__":
    main()
