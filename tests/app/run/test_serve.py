"""`--serve-stdin` over a scripted model."""

import io
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.run.serve import LineServer
from ossctl.app.tools.toolbox import Toolbox
from ossctl.app.wire.lines import Line, read_lines
from ossctl.dialect import Conversation
from ossctl.errors import OutputClosed
from ossctl.storage.journal import FilePolicy, Journal, OutputFile
from tests.app.batch.test_runner import BytesDialect, EndingRunner


def served(folder: Path, lines: Iterator[Line], dialect: BytesDialect | None = None) -> list[dict[str, Any]]:
    """The events, without the first one."""
    runner = EndingRunner(n_vocab=256, n_ctx_seq=64)
    model = LoadedModel("scripted", runner, dialect or BytesDialect(), lambda token: bytes([token]))
    with (
        OutputFile(FilePolicy(folder / "out"), overwrite=True) as output,
        output.journal() as journal,
        Interrupt() as interrupt,
    ):
        LineServer(model, journal, Defaults(), Toolbox()).run(lines, interrupt)
    return [json.loads(line) for line in (folder / "out").read_text().splitlines()][1:]


def served_texts(folder: Path, *records: dict[str, Any]) -> list[dict[str, Any]]:
    return served(folder, read_lines(io.BytesIO(b"\n".join(json.dumps(r).encode() for r in records))))


@pytest.mark.parametrize(
    ("fields", "name"),
    [({"n": 2}, "n"), ({"logprobs": True}, "logprobs"), ({"logprobs": True, "top_logprobs": 3}, "logprobs")],
)
def test_a_field_that_is_not_supported_is_refused(tmp_path: Path, fields: dict[str, Any], name: str) -> None:
    (event,) = served_texts(tmp_path, {"id": "a", "prompt": "x", **fields})
    message = f"{name} is not supported with --serve-stdin"
    assert event == {"id": "a", "error": {"code": "invalid_request", "message": message, "line": 1}}


@pytest.mark.parametrize("fields", [{"n": 1}, {"n": None, "logprobs": None}, {"logprobs": False}])
def test_a_field_that_changes_nothing_is_accepted(tmp_path: Path, fields: dict[str, Any]) -> None:
    (event,) = served_texts(tmp_path, {"id": "a", "prompt": "x", **fields})
    assert event["done"]["finish_reason"] == "empty"


def test_a_prompt_that_is_too_long_by_far_is_refused_without_rendering(tmp_path: Path) -> None:
    class Strict(BytesDialect):
        def render(self, conversation: Conversation) -> list[int]:
            raise AssertionError("rendered")

    (event,) = served(tmp_path, iter([Line(1, b'{"prompt": "%s"}' % (b"x" * 100_000))]), Strict())
    assert event["error"]["code"] == "context_length_exceeded"


def test_a_prompt_that_takes_long_to_tokenize_does_not_delay_other_events(tmp_path: Path) -> None:
    """Each line is read only when the line before it has been handled."""
    rendering, refused = threading.Event(), threading.Event()

    class Slow(BytesDialect):
        def render(self, conversation: Conversation) -> list[int]:
            rendering.set()
            assert refused.wait(20)
            return super().render(conversation)

    def lines() -> Iterator[Line]:
        yield Line(1, b'{"id": "slow", "prompt": "x"}')
        assert rendering.wait(20)
        yield Line(2, b'{"cancel": "slow"}')
        yield Line(3, b'{"id": "b", "n": 2, "prompt": "x"}')
        while b'"b"' not in (tmp_path / "out").read_bytes():
            assert not refused.wait(0.01)
        refused.set()

    events = served(tmp_path, lines(), Slow())
    assert [event["id"] for event in events] == ["b", "slow"]
    assert events[1]["done"]["finish_reason"] == "cancelled"


def test_a_reader_that_is_gone_leaves_the_queued_prompts_unrendered(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    rendered = []

    class Slow(BytesDialect):
        def render(self, conversation: Conversation) -> list[int]:
            rendered.append(conversation)
            time.sleep(0.05)
            return super().render(conversation)

    def lines() -> Iterator[Line]:
        yield from (Line(number, b'{"prompt": "x"}') for number in range(1, 31))
        os.close(reader)
        yield Line(31, b'{"n": 2, "prompt": "x"}')

    model = LoadedModel(
        "scripted", EndingRunner(n_vocab=256, n_ctx_seq=64), Slow(), lambda token: bytes([token])
    )
    with (
        Journal(lambda: os.fdopen(writer, "wb", buffering=0), "a pipe") as journal,
        Interrupt() as interrupt,
        pytest.raises(OutputClosed),
    ):
        LineServer(model, journal, Defaults(), Toolbox()).run(lines(), interrupt)
    assert len(rendered) < 15
