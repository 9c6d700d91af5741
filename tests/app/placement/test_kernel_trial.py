"""What the trial of the kernels measures, and when it is repeated."""

import datetime as dt

import pytest

from ossctl.app.placement import kernel_trial
from ossctl.app.placement.kernel_trial import Trial
from ossctl.planning.attention import USUAL_COSTS, AttentionCosts

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
    assert Trial({}, costs, complete=True, tested=YESTERDAY).is_due is not measured


def test_what_failed_is_tested_again_on_another_day() -> None:
    assert not Trial({}, COSTS, complete=True, tested=YESTERDAY).is_due
    assert Trial({"CUDA0": "it crashed"}, COSTS, complete=True, tested=YESTERDAY).is_due
    assert not Trial({"CUDA0": "it crashed"}, USUAL_COSTS, complete=True, tested=TODAY).is_due
