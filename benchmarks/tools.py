"""`make bench-tools`: what calls of Python cost a batch.

    python -m benchmarks.tools [--lines 1000] [--rounds 3] [--places monty,bwrap]

nano asks for the weather of a city, and the answer is computed by Python that the conversation has to itself;
`given` is the same answer without running anything. All sides take turns.
"""

import argparse
import io
import json
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ossctl.app.batch.line_parser import LineParser
from ossctl.app.batch.line_runner import Codec, Rules
from ossctl.app.batch.records import ModelIdentity, ResultRecords
from ossctl.app.batch.runner import BatchRunner
from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel, load_model
from ossctl.app.library.resolve import NANO_FILE
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.tools.python.interpreter import Limits
from ossctl.app.tools.python.source import PLACES, PythonSource
from ossctl.app.tools.source import KeepGoing, ToolOutcome, ToolSession
from ossctl.app.tools.toolbox import Toolbox
from ossctl.app.wire.lines import read_lines
from ossctl.dialect import Tool, ToolCall
from ossctl.engine.request import Sampling
from ossctl.planning.workload import Purpose, Workload
from ossctl.storage.journal import FilePolicy, OutputFile

_CITIES = ("Turku", "Oslo", "Rome", "Paris", "Cairo", "Lima")
_PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_CODE = """\
import json
seen = sum(n * n for n in range(1000))
print(json.dumps({"temperature": seen % 30, "sky": "rainy"}))
"""
_GOAL = 0.8


@dataclass(frozen=True)
class WeatherSession:
    """Answers with what Python prints, or at once."""

    python: ToolSession | None

    def question(self, _call: ToolCall) -> None:
        """Nothing outside is touched."""

    def run(self, call: ToolCall, keep_going: KeepGoing) -> ToolOutcome:
        if self.python is None:
            return ToolOutcome(call, '{"temperature": 20, "sky": "rainy"}', ok=True)
        outcome = self.python.run(ToolCall("python", json.dumps({"code": _CODE})), keep_going)
        assert outcome.ok, outcome.result
        return ToolOutcome(call, outcome.result, ok=True)

    def close(self) -> None:
        if self.python is not None:
            self.python.close()


@dataclass(frozen=True, eq=False)
class Weather:
    """The function that nano knows."""

    python: PythonSource | None
    concurrent: bool = False

    def tools(self) -> Sequence[Tool]:
        return [Tool("get_weather", "Get the weather in a city.", _PARAMETERS)]

    def describe(self, name: str, /) -> str:
        return name

    def notes(self) -> Sequence[str]:
        return ()

    def open(self) -> WeatherSession:
        return WeatherSession(self.python.open() if self.python else None)

    def close(self) -> None:
        if self.python is not None:
            self.python.close()


def tokens_per_second(model: LoadedModel, weather: Weather, lines: bytes, folder: Path) -> float:
    """Run a batch; return tokens generated per second."""
    tools = Toolbox([weather])
    defaults = Defaults(max_tokens=200, sampling=Sampling(temperature=0), tools=tools.offered)
    records = ResultRecords(ModelIdentity("nano", b"nano", model.piece), flat=True)
    output = folder / "out.jsonl"
    with (
        closing(tools),
        OutputFile(FilePolicy(output), overwrite=True) as file,
        file.journal() as journal,
        Interrupt() as interrupt,
    ):
        batch = BatchRunner(
            model, Codec(LineParser(defaults), records), journal, lambda _: None, Rules(tools=tools)
        )
        summary = batch.run(read_lines(io.BytesIO(lines)), interrupt)
    answers: list[dict[str, Any]] = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    assert all(answer["tool_results"] for answer in answers)
    return summary.completion_tokens / summary.seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--places", default="monty,bwrap")
    options = parser.parse_args()
    prompts = [f"What is the weather in {_CITIES[n % len(_CITIES)]}?" for n in range(options.lines)]
    lines = "\n".join(json.dumps({"prompt": prompt}) for prompt in prompts).encode()
    names = ["given", *(name for name in PLACES if name in options.places.split(","))]
    speeds: dict[str, list[float]] = {name: [] for name in names}
    with (
        tempfile.TemporaryDirectory() as found,
        Interrupt() as interrupt,
        load_model(NANO_FILE, LoadOptions(), Workload(Purpose.BATCH, options.lines), interrupt) as model,
    ):
        for _ in range(options.rounds):
            for name in names:
                python = None if name == "given" else PythonSource(name, Limits(60.0))  # type: ignore[arg-type]
                speeds[name].append(tokens_per_second(model, Weather(python), lines, Path(found)))
    base = statistics.median(speeds["given"])
    for name, measured in speeds.items():
        median = statistics.median(measured)
        met = "" if name == "given" else f"   goal {_GOAL}: {'met' if median / base >= _GOAL else 'missed'}"
        print(f"{name:10} {median:8.1f} tokens/s   {median / base:.3f}{met}")


if __name__ == "__main__":
    main()
