"""What the trial of the kernels measures, and when it is repeated."""

import datetime as dt
from pathlib import Path

import pytest

from ossctl.app.doctor.checks import Check, Severity, _self_test
from ossctl.app.placement import kernel_trial
from ossctl.app.placement.kernel_trial import Trial, run_trial
from ossctl.app.placement.self_test import ProbeFailure, ProbeRun
from ossctl.planning.attention import USUAL_COSTS, AttentionCosts
from ossctl.planning.machine import GIB, Device, Machine

TODAY = dt.datetime.now().astimezone().date()
YESTERDAY = TODAY - dt.timedelta(1)
COSTS = AttentionCosts(4e-9, 5e-9, 4e-8, 1e-8)


@pytest.mark.parametrize(
    ("seconds_with_all_threads", "measured"), [(2e-8, True), (9e-8, False)], ids=["quiet", "busy"]
)
def test_attention_that_waits_for_other_programs_says_nothing_about_the_cpu(
    monkeypatch: pytest.MonkeyPatch, seconds_with_all_threads: float, measured: bool
) -> None:
    def seconds(_n_tokens: int, n_threads: int, *, flash: bool) -> float:
        return 8e-8 if flash else 1e-8 if n_threads == 1 else seconds_with_all_threads

    monkeypatch.setattr("ossctl.runtime.attention.attention_seconds", seconds)
    monkeypatch.setattr("ossctl.runtime.host.physical_cores", lambda: 2)
    costs = kernel_trial._measured_attention()
    assert (costs != USUAL_COSTS) is measured
    assert Trial({}, costs, YESTERDAY).is_due is not measured


def test_what_failed_is_tested_again_on_another_day() -> None:
    assert not Trial({}, COSTS, YESTERDAY).is_due
    assert Trial({"CUDA0": "it crashed"}, COSTS, YESTERDAY).is_due
    assert not Trial({"CUDA0": "it crashed"}, USUAL_COSTS, TODAY).is_due


WORKS = ProbeRun([0.0, 1.0], [1], 1.0, 1.0)
SHORT = ProbeFailure("not enough memory")


@pytest.mark.parametrize(
    ("cpu", "reason"),
    [(WORKS, "not enough memory"), (SHORT, "there is nothing to compare with: not enough memory")],
)
def test_what_was_not_tested_is_not_reported_as_correct(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpu: ProbeRun | ProbeFailure, reason: str
) -> None:
    gpu = WORKS if cpu is SHORT else SHORT
    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path))
    monkeypatch.setattr(kernel_trial, "probe", lambda *_, **__: {"cpu": cpu, "cpu-extra": gpu, "CUDA0": gpu})
    device = Device("CUDA0", "CUDA", "a GPU", GIB, GIB)
    found = [*_self_test(run_trial(), Machine((device,), GIB, GIB, 1), None)]
    assert found[:2] == [
        Check("kernels", Severity.NOTE, f"the optimised CPU kernels were not tested: {reason}"),
        Check("kernels", Severity.NOTE, f"the kernels of CUDA0 were not tested: {reason}"),
    ]
    assert not [*tmp_path.rglob("kernels.json")]  # so that the next load tries again
