"""Which other settings are tried, and which of them are suggested."""

from dataclasses import replace
from pathlib import Path

import pytest

from ossctl.app.bench.estimate import Estimate
from ossctl.app.bench.options import BenchOptions, Extent
from ossctl.app.bench.results import Change
from ossctl.app.bench.rounds import Effort
from ossctl.app.bench.tune import Candidate, best_of_each, candidates, combined, is_better, tune
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.placement.machine import this_machine
from ossctl.app.placement.shapes import known_shapes, shape_of_file
from ossctl.app.plan.report import MachineOptions
from ossctl.planning.plan import Plan
from ossctl.planning.planner import make_plan
from ossctl.planning.workload import Overrides, Workload
from tests.app.bench.test_run import CPU, Watched

SURE_GAIN, SURE_LOSS = Estimate(1.2, 1.1, 1.3, 5), Estimate(0.8, 0.7, 0.9, 5)
CHANCE, TRIFLE = Estimate(1.2, 0.9, 1.6, 5), Estimate(1.01, 1.005, 1.015, 5)


def plan_of(path: Path, loading: LoadOptions = CPU) -> Plan:
    shape = shape_of_file(path)
    return make_plan(this_machine(), shape, Workload(), loading.overrides(shape))


def change(prefill: Estimate, generation: Estimate) -> Change:
    return Change(name="n", value="2", planned="1", option="-n 2", prefill=prefill, generation=generation)


@pytest.mark.parametrize(
    ("prefill", "generation", "better"),
    [
        (SURE_GAIN, CHANCE, True),
        (CHANCE, SURE_GAIN, True),
        (SURE_GAIN, SURE_LOSS, False),
        (CHANCE, CHANCE, False),
        (TRIFLE, TRIFLE, False),
    ],
)
def test_only_a_gain_that_is_not_chance_counts(prefill: Estimate, generation: Estimate, better: bool) -> None:
    assert is_better(change(prefill, generation)) == better


def test_what_the_user_has_fixed_is_not_tried(byte_model_path: Path) -> None:
    free = {each.name for each in candidates(plan_of(byte_model_path, LoadOptions(device="cpu")))}
    assert free == {"ubatch", "threads", "KV type", "attention"}
    fixed = replace(CPU, ubatch=64, kv="q8_0")
    assert {each.name for each in candidates(plan_of(byte_model_path, fixed))} == set()


def test_a_quantised_cache_is_tried_with_the_attention_that_it_needs(byte_model_path: Path) -> None:
    [kv] = [each for each in candidates(plan_of(byte_model_path)) if each.name == "KV type"]
    assert kv.option == "--kv q8_0"
    assert kv.settings.flash_attention


def test_experts_are_moved_where_some_are_in_ram() -> None:
    shape = next(each for name, each in known_shapes().items() if "gpt-oss-20b" in name)
    machine = MachineOptions(gpu=("RTX 3060",), ram="32GiB").machine()
    plan = make_plan(machine, shape, Workload(), Overrides())
    now = len(plan.settings.experts_in_ram)
    moved = [each for each in candidates(plan) if each.name == "experts in RAM"]
    assert [each.option for each in moved] == [f"--cpu-moe {now - 2}", f"--cpu-moe {now + 2}"]
    assert [len(each.settings.experts_in_ram) for each in moved] == [now - 2, now + 2]


def test_of_each_setting_the_best_value_is_combined_with_those_of_others(byte_model_path: Path) -> None:
    plan = plan_of(byte_model_path, LoadOptions(device="cpu", threads=1))
    tried = {each.option: each for each in candidates(plan)}
    large, larger = [each for each in tried.values() if each.name == "ubatch"][-2:]
    kv = tried["--kv q8_0"]
    gains = {large.option: 1.1, larger.option: 1.3, kv.option: 1.05}

    def measured(candidate: Candidate) -> tuple[Candidate, Change]:
        gain = Estimate(gains[candidate.option], 1.01, 2, 5)
        return candidate, change(gain, gain)

    chosen = [each for each, _ in best_of_each([measured(each) for each in (large, larger, kv)])]
    assert chosen == [larger, kv]
    together = combined(plan, chosen)
    assert together.option == f"{larger.option} --kv q8_0"
    assert together.settings == replace(
        kv.settings, ubatch=larger.settings.ubatch, batch=larger.settings.batch
    )


def test_every_candidate_is_measured(byte_model_path: Path) -> None:
    extent = Extent((16,), (1,), 4, Effort(0.0, 2), 0, 10.0)
    plan, watched = plan_of(byte_model_path), Watched()
    with Interrupt() as interrupt:
        tuning = tune(plan, BenchOptions("bytes", byte_model_path, CPU, extent), watched, interrupt)
    assert [each.option for each in tuning.changes] == [each.option for each in candidates(plan)]
    assert all(each.prefill.value > 0 and each.generation.rounds == 2 for each in tuning.changes)
