"""Loading by plan: llama.cpp reports what was predicted, and less memory than planned is lived with."""

import datetime as dt
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ossctl.app.doctor.checks import _corrections
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadOptions, differences, load_model
from ossctl.app.placement.buffers import reported_by_device
from ossctl.app.placement.memory_corrections import Corrections, next_correction, with_less_memory
from ossctl.app.placement.shapes import known_shapes
from ossctl.data import DATA
from ossctl.errors import ModelError
from ossctl.harmony.dialect import HarmonyDialect
from ossctl.planning.machine import GIB, MIB, Device, Machine
from ossctl.planning.planner import make_plan
from ossctl.planning.workload import Overrides, Purpose, Workload
from tests.support.gpt_oss_shapes import hollow_gpt_oss
from tests.support.llama_oracle import has_rpc
from tests.support.models import smollm2
from tests.support.programs import share_trial
from tests.support.rpc_servers import rpc_server

MACHINE = Machine((Device("CUDA0", "CUDA", "a card", 7 * GIB, 8 * GIB),), 32 * GIB, 30 * GIB, 4)
SHAPE = next(iter(known_shapes().values()))


def surroundings(home: Path) -> dict[str, str]:
    """The environment of a process of its own, with all of ossctl's files in `home`."""
    share_trial(home / "home")
    return {**os.environ, "OSSCTL_HOME": str(home / "home"), "PYTHONPATH": os.pathsep.join(sys.path)}


def test_what_is_loaded_is_what_was_predicted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path))
    options = LoadOptions(ctx=8192, parallel=4, kv="q8_0", ubatch=1024)
    with (
        caplog.at_level(logging.INFO, "ossctl"),
        Interrupt() as interrupt,
        load_model(smollm2(), options, Workload(Purpose.BATCH), interrupt) as loaded,
    ):
        assert loaded.runner.n_ctx_seq == 8192
        assert loaded.runner.n_seq == 4
        assert loaded.remarks == ()
    (line,) = [record.getMessage() for record in caplog.records if "llama.cpp reports" in record.message]
    predicted, actual = (int(word) for word in line.split() if word.isdigit())
    assert predicted > 100
    assert abs(predicted - actual) < 0.05 * predicted
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def without_template(model: Path, path: Path) -> Path:
    path.write_bytes(model.read_bytes().replace(b"tokenizer.chat_template", b"tokenizer.chat_tempest!"))
    return path


@pytest.mark.parametrize("of_gpt_oss", [False, True])
def test_a_model_without_a_chat_template_is_refused_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, of_gpt_oss: bool
) -> None:
    monkeypatch.setattr("ossctl.app.inference.loading._Loader", None)
    model = tmp_path / "base.gguf"
    if of_gpt_oss:
        hollow_gpt_oss(model, n_layers=1, n_experts=4)
    else:
        without_template(smollm2(), model)
    with (
        Interrupt() as interrupt,
        pytest.raises(ModelError, match="no chat template"),
        load_model(model, LoadOptions(), Workload(Purpose.BATCH), interrupt),
    ):
        pass


def test_a_model_with_harmonys_tokens_needs_no_chat_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path))
    share_trial(tmp_path)
    model = without_template(DATA / "nano.gguf", tmp_path / "nano.gguf")
    options = LoadOptions(ctx=512)
    with (
        Interrupt() as interrupt,
        load_model(model, options, Workload(Purpose.BATCH), interrupt) as loaded,
    ):
        assert isinstance(loaded.dialect, HarmonyDialect)


SHORT = """
import resource, sys
from pathlib import Path
import ossctl.runtime.model, ossctl.app.inference.loading as loading
from ossctl.app.inference.interrupt import Interrupt
from ossctl.planning.workload import Workload, Purpose
from ossctl.runtime.context import LlamaRunner

make = LlamaRunner.__init__
def limited(self, model, options):
    # what is in use, and room for a small cache: as if another program had taken the rest
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]), resource.RLIM_INFINITY))
    try:
        make(self, model, options)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
LlamaRunner.__init__ = limited
model, options = Path(sys.argv[1]), loading.LoadOptions(ctx=int(sys.argv[3]))
workload = Workload(Purpose.BATCH, prompt_tokens=10, answer_tokens=10)
with Interrupt() as interrupt, loading.load_model(model, options, workload, interrupt) as loaded:
    print(loaded.runner.n_seq, loaded.runner.n_ctx_seq, loaded.runner.unified, *loaded.remarks, sep="\\n")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
@pytest.mark.parametrize("ctx", [4096, 8192])
def test_less_memory_than_planned_gives_a_smaller_plan_that_is_said_and_remembered(
    tmp_path: Path, ctx: int
) -> None:
    def load(room: int) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", SHORT, str(smollm2()), str(room), str(ctx)],
            env=surroundings(tmp_path), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    sequences, n_ctx, shared, said = load(500 * MIB)  # 8 sequences of 4,096 tokens would take 720 MiB
    assert (int(sequences) < 8, shared) == (True, "False") if ctx == 4096 else (False, "True")
    assert int(n_ctx) == ctx
    assert said.startswith("Not enough memory for the plan; loaded with ")
    (kept,) = json.loads((tmp_path / "home" / "state" / "corrections.json").read_text("utf-8")).values()
    assert kept["n_bytes"] > 0
    assert load(500 * MIB) == [sequences, n_ctx, shared]  # the next time at once, and silently


@pytest.mark.parametrize(("more", "said"), [(0, 0), (100, 0), (4000, 1)])
def test_a_prediction_that_is_far_off_is_said(more: int, said: int) -> None:
    plan = make_plan(MACHINE, SHAPE, Workload(), Overrides())
    (device,), (use,), host = plan.settings.devices, plan.prediction.devices, plan.prediction.host
    buffers = {
        (device, "model"): use.weights,
        (device, "KV"): use.kv,
        (device, "compute"): use.compute + more * MIB,
        ("CPU", "model"): host.weights,
        ("CPU", "compute"): host.compute,
    }
    lines = list(differences(plan, reported_by_device(plan.settings.devices, buffers)))
    assert len(lines) == said
    assert all("please report this." in line for line in lines)


def test_corrections_belong_to_a_machine_and_a_model(tmp_path: Path) -> None:
    path = tmp_path / "state" / "corrections.json"
    corrections = Corrections(path)
    assert corrections.get(MACHINE, SHAPE) == 0
    corrections.remember(MACHINE, SHAPE, 256 * MIB)
    assert Corrections(path).get(MACHINE, SHAPE) == 256 * MIB
    assert corrections.get(Machine((), 32 * GIB, 30 * GIB, 4), SHAPE) == 0
    path.write_text("damaged", "utf-8")
    assert corrections.get(MACHINE, SHAPE) == 0


def with_free(n_bytes: int) -> Machine:
    return replace(MACHINE, devices=(replace(MACHINE.devices[0], free=n_bytes),))


def test_a_correction_holds_for_some_days_or_until_more_memory_is_free(tmp_path: Path) -> None:
    path, day = tmp_path / "corrections.json", dt.date(2026, 3, 30)

    def later(days: int) -> Corrections:
        return Corrections(path, day + dt.timedelta(days))

    later(0).remember(MACHINE, SHAPE, 256 * MIB)
    assert [later(days).get(MACHINE, SHAPE) > 0 for days in (0, 1, 6, 7, 400)] == [True] * 3 + [False] * 2
    assert [len(later(days).all()) for days in (6, 7)] == [1, 0]
    frees = (GIB, 7 * GIB, 7 * GIB + 100 * MIB, 8 * GIB, 80 * GIB)
    assert [later(1).get(with_free(free), SHAPE) > 0 for free in frees] == [True] * 3 + [False] * 2
    later(7).remember(with_free(8 * GIB), SHAPE, GIB)
    assert later(8).get(with_free(8 * GIB), SHAPE) == GIB
    later(8).forget(MACHINE, SHAPE)
    assert later(8).all() == []


def test_corrections_can_be_seen_and_reset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path))
    corrections = Corrections.saved()
    assert list(_corrections()) == []
    corrections.remember(MACHINE, SHAPE, 256 * MIB)
    (check,) = _corrections()
    assert f"plans for {SHAPE.name} leave 256 MiB unused" in check.message
    assert "`ossctl doctor --reset-corrections`" in check.fix
    corrections.reset()
    assert list(_corrections()) == []
    corrections.reset()


@pytest.mark.parametrize(
    "record", [256 * MIB, "x", {}, {"model": "m", "n_bytes": 1, "date": "never", "free": 1}]
)
def test_a_damaged_correction_is_none(tmp_path: Path, record: object) -> None:
    path = tmp_path / "corrections.json"
    path.write_text(json.dumps({"a": record}), "utf-8")
    assert Corrections(path).all() == []


def test_a_correction_is_taken_off_what_is_free() -> None:
    assert with_less_memory(MACHINE, GIB).devices[0].free == 6 * GIB
    ram_alone = Machine((), 32 * GIB, 30 * GIB, 4)
    assert with_less_memory(ram_alone, GIB).ram_free == 30 * GIB
    assert with_less_memory(ram_alone, 3 * GIB).ram_free == 29 * GIB


@pytest.mark.parametrize("machine", [MACHINE, Machine((), 32 * GIB, 30 * GIB, 4)], ids=["GPU", "RAM"])
def test_a_correction_gives_the_next_smaller_plan(machine: Machine) -> None:
    plan = make_plan(machine, SHAPE, Workload(Purpose.BATCH), Overrides())
    less = next_correction(machine, plan, MIB)
    smaller = make_plan(with_less_memory(machine, less), SHAPE, Workload(Purpose.BATCH), Overrides())
    assert smaller.settings != plan.settings
    fullest = [(*each.prediction.devices, each.prediction.host)[0].total for each in (plan, smaller)]
    assert fullest[1] < fullest[0]
    further = next_correction(machine, smaller, MIB)
    assert further > less


@has_rpc
def test_experts_offloaded_to_another_device_give_the_cpus_tokens(
    byte_model_path: Path, tmp_path: Path
) -> None:
    with rpc_server() as address:
        done = subprocess.run(
            [sys.executable, "-c", GREEDY, str(byte_model_path), address],
            env=surroundings(tmp_path),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    by_place = dict(line.split(": ") for line in done.stdout.splitlines())
    assert set(by_place) == {"cpu", "all", "half", "experts in RAM", "some experts in RAM"}
    assert len(by_place["cpu"].split()) == 48
    assert set(by_place.values()) == {by_place["cpu"]}


GREEDY = """
import ctypes, sys
from pathlib import Path
import numpy as np
from ossctl.runtime.bindings import lib
from ossctl.runtime.base import Chunk
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.devices import find_device, list_devices, placeable
from ossctl.runtime.ggml import function
from ossctl.runtime.model import LlamaModel, ModelOptions

lib.llama_backend_init()
pointer = ctypes.c_void_p
registered = function("ggml_backend_rpc_add_server", pointer, ctypes.c_char_p)(sys.argv[2].encode())
function("ggml_backend_register", None, pointer)(registered)
(device,) = placeable(list_devices())
assert (device.name, device.backend) == ("RPC0", "RPC"), device
everything = tuple(range(4))
places = {
    "cpu": ModelOptions(0, ()),
    "all": ModelOptions(5, ("RPC0",), (5,)),
    "half": ModelOptions(2, ("RPC0",), (2,)),
    "experts in RAM": ModelOptions(5, ("RPC0",), (5,), everything, load_mode="none"),
    "some experts in RAM": ModelOptions(5, ("RPC0",), (5,), (0, 2)),
}
for name, options in places.items():
    with LlamaModel(Path(sys.argv[1]), options) as model:
        with LlamaRunner(model, ContextOptions(512, 1, 512, 128, n_threads=1)) as runner:
            if name.endswith("experts in RAM"):
                held = {key: size for key, size in model.buffers.items() if not key[0].startswith("RPC0")}
                assert sum(held.values()) > 0, model.buffers
            chosen, ids = [], np.arange(40, 80, dtype=np.int32)
            for _ in range(48):
                logits = runner.decode([Chunk(0, ids, True)])
                chosen.append(int(logits[0].argmax()))
                ids = np.array(chosen[-1:], np.int32)
            print(f"{name}: {' '.join(map(str, chosen))}")
"""
