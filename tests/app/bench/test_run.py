"""A whole benchmark of a tiny model: what is in its report, never how fast it was."""

import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Timer

import msgspec
import pytest

from ossctl.app.bench.comparison import compared, read_report
from ossctl.app.bench.estimate import mean_of
from ossctl.app.bench.options import BenchOptions, Extent
from ossctl.app.bench.picture import picture
from ossctl.app.bench.results import BenchReport, Wait, record_of
from ossctl.app.bench.rounds import Effort
from ossctl.app.bench.run import measure
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.plan.report import MachineOptions, plan_one
from ossctl.errors import UsageError
from ossctl.planning.workload import Purpose, Workload
from tests.support.small_models import small_model

STARTED = Extent((16,), (1, 2), 4, Effort(0.0, 2), 1, 10.0)
ONCE = Extent((16, 64), (1, 2, 4), 4, Effort(0.0, 2), 0, 10.0)
CPU = LoadOptions(device="cpu", threads=1, ctx=1200)


class Watched:
    """Remembers the steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.expected = 0.0
        self.remarked: list[str] = []

    def remarks(self, remarks: Sequence[str]) -> None:
        self.remarked += remarks

    def expects(self, seconds: float) -> None:
        self.expected = seconds

    def step(self, what: str) -> None:
        self.steps.append(what)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def report(byte_model_path: Path, home: Path) -> BenchReport:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSSCTL_HOME", str(home))
        watched = Watched()
        report = measure(BenchOptions("bytes", byte_model_path, CPU, ONCE), watched)
    assert watched.expected > 0
    assert "4 sequences" in watched.steps
    return report


def test_every_length_and_number_of_sequences_has_both_speeds(report: BenchReport) -> None:
    assert [row.prompt_tokens for row in report.lengths] == [16, 64]
    assert [row.sequences for row in report.batches] == [1, 2, 4]
    for row in (*report.lengths, *report.batches):
        for speeds in (row.prefill, row.generation):
            assert speeds.ossctl.rounds == speeds.llama_cpp.rounds == 2
            assert min(speeds.ossctl.value, speeds.llama_cpp.value, speeds.cpu_ratio.value) > 0
            assert speeds.ratio.value == pytest.approx(speeds.ossctl.value / speeds.llama_cpp.value)
    copying = report.copying
    assert copying is not None
    assert 0 <= copying.accepted_tokens <= copying.drafted_tokens
    assert copying.ratio.value == pytest.approx(copying.drafting.value / copying.plain.value)
    assert report.plan["threads"] == 1
    assert report.batch_plan is not None
    assert report.batch_plan["parallel"] == 4


def test_the_json_is_read_back_for_a_comparison(report: BenchReport, tmp_path: Path) -> None:
    file = tmp_path / "before.json"
    file.write_text(json.dumps(record_of(report) | {"comparison": None}))
    assert read_report(file) == report
    same = compared(report, read_report(file))
    assert same.different == []
    assert len(same.ratios) == 2 * 5 + 1
    assert all(each.ratio.value == pytest.approx(1) for each in same.ratios)
    assert {each.meaning for each in same.ratios} == {"no significant difference"}


def test_what_llama_server_did_is_compared_where_both_have_it(report: BenchReport) -> None:
    def served(speed: float, seconds: float) -> BenchReport:
        row, theirs = report.batches[-1], mean_of([speed])
        generation = msgspec.structs.replace(row.generation, llama_server=theirs)
        row = msgspec.structs.replace(row, generation=generation)
        wait = Wait(what="cold", prompt_tokens=9, seconds=theirs, llama_server=mean_of([seconds]))
        return msgspec.structs.replace(report, batches=[row], waits=[wait])

    found = compared(served(30, 1), served(20, 4)).ratios
    theirs = {each.what: each.ratio.value for each in found if each.what.startswith("llama-server")}
    assert theirs == pytest.approx({"llama-server, 4 sequences": 1.5, "llama-server, first token, cold": 4.0})
    assert not [each for each in compared(served(30, 1), report).ratios if "llama-server" in each.what]


def test_a_comparison_names_what_else_has_changed(report: BenchReport) -> None:
    before = msgspec.structs.replace(
        report, ossctl="0.0.1", plan={**report.plan, "threads": 7}, lengths=report.lengths[:1], batches=[]
    )
    before = msgspec.structs.replace(before, copying=None)
    found = compared(report, before)
    assert found.different == [f"ossctl: 0.0.1 before, {report.ossctl} now", "threads: 7 before, 1 now"]
    assert [each.what for each in found.ratios] == ["prefill, 16 tokens", "generation, 16 tokens"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not a benchmark"), ("{}", "is not a benchmark"), ("[1]", "is not a benchmark")],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_report(file)
    with pytest.raises(UsageError, match="cannot read"):
        read_report(tmp_path / "missing.json")


def test_a_picture_has_a_bar_for_every_speed(report: BenchReport) -> None:
    drawn = picture(replace_name(report, "<model>"))
    assert drawn.count('<rect class="track"') == 2 + 2 + 3
    assert "&lt;model&gt;" in drawn


def replace_name(report: BenchReport, name: str) -> BenchReport:
    return msgspec.structs.replace(report, model=msgspec.structs.replace(report.model, name=name))


def test_a_plan_of_the_same_model_shows_what_was_measured(
    report: BenchReport, home: Path, byte_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSSCTL_HOME", str(home))
    machine = MachineOptions().machine()

    def speed(loading: LoadOptions, workload: Workload) -> object:
        return plan_one(str(byte_model_path), loading, workload, machine, lambda _: None).speed

    found = plan_one(str(byte_model_path), CPU, Workload(), machine, lambda _: None).speed
    assert found is not None
    assert [each.tokens for each in found.lengths] == [16, 64]
    assert found.lengths[0].prefill == pytest.approx(report.lengths[0].prefill.ossctl.value)
    assert speed(replace(CPU, ctx=128), Workload()) == found  # a context's size does not decide speed
    assert speed(replace(CPU, threads=3), Workload()) is None
    assert speed(CPU, Workload(Purpose.BATCH)) is not None


@pytest.fixture
def no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own, and llama.cpp's programs are not found."""
    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("LLAMA_SERVER", raising=False)
    monkeypatch.setattr("ossctl.app.bench.llama_server.find_server", lambda _: None)


@pytest.mark.usefixtures("no_server")
def test_programs_that_answer_one_prompt_start_with_a_number_of_sequences(byte_model_path: Path) -> None:
    watched = Watched()
    report = measure(BenchOptions("bytes", byte_model_path, replace(CPU, parallel=2), STARTED), watched)
    assert watched.remarked == []
    assert [wait.what for wait in report.waits] == ["startup", "cold", "warm"]


@pytest.mark.usefixtures("no_server")
def test_a_time_that_cannot_be_measured_costs_no_other_result(tmp_path: Path) -> None:
    watched, base = Watched(), small_model(tmp_path / "base.gguf", "qwen3")
    report = measure(BenchOptions("base", base, CPU, STARTED), watched)
    assert [wait.what for wait in report.waits] == ["startup", "cold"]
    [remark] = watched.remarked
    assert remark.startswith("Not every time to the first token was measured: ")
    assert "has no chat template" in remark
    assert len(report.batches) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.usefixtures("no_server")
def test_ctrl_c_at_a_program_that_is_measured_keeps_other_results(byte_model_path: Path) -> None:
    own = os.getpid()

    def children() -> set[int]:
        return set(map(int, Path(f"/proc/{own}/task/{own}/children").read_text().split()))

    def ctrl_c() -> None:  # as a terminal sends it, to the programs that were started here as well
        for pid in children() - others:
            os.kill(pid, signal.SIGINT)
        os.kill(own, signal.SIGINT)

    class Interrupted(Watched):
        def step(self, what: str) -> None:
            if "first token" in what:
                Timer(0.1, ctrl_c).start()

    watched, others = Interrupted(), children()  # the server that programs of other tests are forked from
    report = measure(BenchOptions("bytes", byte_model_path, CPU, STARTED), watched)
    assert report.signal == signal.SIGINT
    assert (len(report.lengths), len(report.batches), report.waits) == (1, 2, [])
    assert watched.remarked == []
