"""llama.cpp's own figures for a plan, asked before the model is loaded."""

import functools
from dataclasses import replace
from pathlib import Path
from subprocess import CalledProcessError, TimeoutExpired
from time import perf_counter

import pytest

from ossctl.app.placement.buffers import by_device
from ossctl.app.placement.memory_corrections import with_less_memory
from ossctl.app.placement.reservation import _reason, _reserve, plan_by_reservation, reserved, with_reserved
from ossctl.app.placement.shapes import shape_of_file
from ossctl.planning.machine import MIB, Device, Machine
from ossctl.planning.memory import DeviceUse
from ossctl.planning.plan import Plan
from ossctl.planning.planner import make_plan
from ossctl.planning.settings import LoadMode, Settings
from ossctl.planning.shape import KvType
from ossctl.planning.workload import Overrides, Workload
from tests.support.hollow_models import hollow, hollow_shape
from tests.support.llama_oracle import has_rpc, oracle
from tests.support.models import smollm2

GPU = Device("CUDA0", "CUDA", "a GPU", 24 << 30, 24 << 30)
SETTINGS = Settings((), (), (), 4096, 1, False, 2048, 512, KvType.F16, 1, LoadMode.MMAP, repack=False)


@functools.cache
def plan_of_qwen() -> Plan:
    machine = replace(make_machine(), devices=(GPU,))
    return make_plan(machine, hollow_shape("qwen3-30b"), Workload(), Overrides())


def answer(compute: int) -> dict[str, DeviceUse]:
    return {"CUDA0": DeviceUse(compute=compute), "RAM": DeviceUse()}


def make_machine() -> Machine:
    return Machine(devices=(), ram_total=64 << 30, ram_free=60 << 30, cores=8)


def test_another_process_reserves_buffers_and_loads_nothing() -> None:
    found = reserved(smollm2(), SETTINGS)["RAM"]
    assert found.kv == 30 * 4096 * 2 * 192 * 2  # layers, cells, keys and values, their width, f16
    assert found.weights > 64 * MIB
    assert found.compute > MIB


def test_on_a_cpu_the_answer_is_what_was_predicted() -> None:
    plan = make_plan(make_machine(), shape_of_file(smollm2()), Workload(), Overrides())
    asked = with_reserved(plan, reserved(smollm2(), plan.settings))
    assert asked.prediction == replace(plan.prediction, reserved=True)


def test_a_file_that_llama_cpp_does_not_take_gives_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF")
    said: list[str] = []
    assert reserved(path, SETTINGS, said.append) == {}
    assert len(said) == 1
    assert said[0].startswith("cannot ask llama.cpp what it would reserve: ")


def test_an_answer_without_the_plans_devices_is_none() -> None:
    assert reserved(smollm2(), replace(SETTINGS, devices=("CUDA9",), device_layers=(31,))) == {}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (CalledProcessError(1, [], stderr="a line\nno device\n"), "no device"),
        (CalledProcessError(-6, [], stderr="#12 main\n"), "it crashed"),
        (TimeoutExpired([], 20), "it took more than 20 seconds"),
    ],
)
def test_why_there_is_no_answer_is_a_short_line(error: Exception, reason: str) -> None:
    assert _reason(error) == reason


def test_without_an_answer_a_plan_keeps_its_prediction() -> None:
    assert with_reserved(plan_of_qwen(), {}) is plan_of_qwen()


def test_an_answer_about_compute_alone_keeps_weights_and_cache() -> None:
    plan = plan_of_qwen()
    asked = with_reserved(plan, answer(MIB)).prediction
    assert asked.devices == (replace(plan.prediction.devices[0], compute=MIB),)
    assert not asked.reserved


def test_the_answer_replaces_what_was_predicted() -> None:
    plan = plan_of_qwen()
    more = plan.prediction.devices[0].compute + plan.headroom + MIB
    assert with_reserved(plan, answer(more)).headroom == -MIB


def test_a_plan_that_would_not_fit_is_made_smaller_before_loading() -> None:
    plan = plan_of_qwen()
    needed = plan.prediction.devices[0].compute + plan.headroom + 512 * MIB

    def make(less: int) -> Plan:
        machine = with_less_memory(plan.machine, less)
        return make_plan(machine, plan.shape, plan.workload, Overrides())

    smaller = plan_by_reservation(make, lambda _: answer(needed), 0)
    assert smaller.headroom >= 0
    assert smaller.prediction.devices[0].compute == needed
    assert smaller.prediction.devices[0].total <= GPU.free
    assert plan_by_reservation(make, lambda _: {}, 0) == plan


@pytest.mark.slow
@has_rpc
def test_on_devices_the_answer_is_what_was_predicted_within_two_seconds(tmp_path: Path) -> None:
    path, shape = hollow(tmp_path / "model.gguf", "deepseek-v2-lite"), hollow_shape("deepseek-v2-lite")
    with oracle() as llama:
        settings = replace(SETTINGS, devices=("RPC0",), device_layers=(shape.n_layers + 1,))
        started = perf_counter()
        buffers = llama.process.submit(_reserve, path, settings).result()
        seconds = perf_counter() - started
    found = by_device(settings.devices, buffers)
    machine = replace(make_machine(), devices=(replace(GPU, name="RPC0", backend="RPC"),))
    plan = make_plan(machine, shape, Workload(), Overrides(ctx=4096, ubatch=512, devices=("RPC0",)))
    predicted = plan.prediction.devices[0]
    assert found["RPC0"].compute == pytest.approx(predicted.compute, rel=0.02)
    assert (found["RPC0"].weights, found["RPC0"].kv) == (predicted.weights, predicted.kv)
    assert seconds < 2
