"""Properties of plans for any machine, workload and overrides."""

from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ossctl.app.placement.shapes import known_shapes
from ossctl.errors import MemoryShortage, UsageError
from ossctl.planning.machine import GIB, MIB, Device, Machine, ram_margin
from ossctl.planning.plan import Plan
from ossctl.planning.planner import make_plan
from ossctl.planning.shape import KvType, LayerShape, ModelShape
from ossctl.planning.workload import Overrides, Purpose, Workload

SHAPES = {
    "20b": known_shapes()["ggml-org/gpt-oss-20b-GGUF/gpt-oss-20b-MXFP4.gguf"],
    "120b": known_shapes()["ggml-org/gpt-oss-120b-GGUF/gpt-oss-120b-mxfp4-00001-of-00003.gguf"],
}

gpus = st.lists(
    st.builds(
        lambda free, backend: Device("", backend, "", free * MIB, free * MIB + 400 * MIB),
        st.integers(256, 100_000),
        st.sampled_from(["CUDA", "Vulkan", "RPC"]),
    ),
    max_size=3,
)


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    devices = tuple(replace(device, name=f"GPU{n}") for n, device in enumerate(draw(gpus)))
    ram = draw(st.integers(2, 200)) * GIB
    return Machine(devices, ram, int(ram * draw(st.floats(0.3, 0.95))), cores=draw(st.integers(1, 64)))


workloads = st.builds(Workload, st.sampled_from(Purpose), st.none() | st.integers(1, 1000))
any_overrides = st.builds(
    Overrides,
    ctx=st.none() | st.integers(1, 131_072),
    parallel=st.none() | st.integers(1, 256),
    gpu_layers=st.none() | st.integers(0, 40),
    cpu_moe=st.none() | st.integers(0, 40),
    kv_type=st.none() | st.sampled_from(KvType),
    ubatch=st.none() | st.integers(1, 8192),
    threads=st.none() | st.integers(1, 128),
)
few_overrides = st.builds(Overrides, ctx=st.none() | st.sampled_from([4096, 32_768, 131_072]))


def planned(machine: Machine, model: str, workload: Workload, overrides: Overrides) -> Plan | None:
    try:
        return make_plan(machine, SHAPES[model], workload, overrides)
    except (MemoryShortage, UsageError):
        return None


@settings(max_examples=15)
@given(machines(), st.sampled_from(sorted(SHAPES)), workloads, few_overrides, st.data())
def test_more_memory_never_gives_a_worse_plan(
    machine: Machine, model: str, workload: Workload, overrides: Overrides, data: st.DataObject
) -> None:
    before = planned(machine, model, workload, overrides)
    assume(before is not None)
    assert before is not None
    more = st.integers(0, 16_000).map(lambda mib: mib * MIB)
    devices = tuple(
        replace(device, free=device.free + extra, total=device.total + extra)
        for device in machine.devices
        for extra in [data.draw(more)]
    )
    ram = data.draw(more)
    larger = replace(
        machine, devices=devices, ram_total=machine.ram_total + ram, ram_free=machine.ram_free + ram
    )
    after = planned(larger, model, workload, overrides)
    assert after is not None
    assert after.quality >= before.quality


@settings(max_examples=15)
@given(machines(), st.sampled_from(sorted(SHAPES)), workloads, any_overrides)
def test_a_plan_exceeds_neither_devices_nor_ram(
    machine: Machine, model: str, workload: Workload, overrides: Overrides
) -> None:
    plan = planned(machine, model, workload, overrides)
    assume(plan is not None)
    assert plan is not None
    for device, use in zip(plan.devices, plan.prediction.devices, strict=True):
        assert device in machine.devices
        assert use.total <= device.free
    least_left = 0 if plan.settings.flash_attention else ram_margin(machine)
    assert plan.prediction.host.total <= machine.ram_free - ram_margin(machine) - least_left


def mixture(n_layers: int, n_experts: int, layer_bytes: int, expert_bytes: int) -> ModelShape:
    """A mixture-of-experts model, or a dense one with `n_experts` 0."""
    layer = LayerShape(layer_bytes, expert_bytes if n_experts else 0, 512, 512)
    return ModelShape(
        "mixture", "qwen3moe", 32_768, 150_000, 2048, 4096, 4096, 128, 6144, 768, n_experts,
        min(8, n_experts), (layer,) * n_layers, 200 << 20, 200 << 20, tied_bytes=0, file_bytes=1 << 30,
    )  # fmt: skip


shapes = st.sampled_from(sorted(SHAPES)).map(SHAPES.__getitem__) | st.builds(
    mixture,
    st.integers(1, 60),
    st.sampled_from([0, 8, 128]),
    st.integers(1, 200).map(lambda mib: mib * MIB),
    st.integers(1, 2000).map(lambda mib: mib * MIB),
)
any_workloads = st.builds(
    Workload,
    st.sampled_from(Purpose),
    st.none() | st.integers(1, 1000),
    st.none() | st.integers(100, 200_000),
    st.integers(1, 4),
    st.booleans(),
)


@settings(max_examples=30)
@given(machines(), shapes, any_workloads, any_overrides)
def test_weights_are_repacked_only_without_a_gpu(
    machine: Machine, shape: ModelShape, workload: Workload, overrides: Overrides
) -> None:
    """A GPU computes large batches with weights in RAM, which it cannot use if they are repacked."""
    try:
        plan = make_plan(machine, shape, workload, overrides)
    except (MemoryShortage, UsageError):
        assume(False)
    assert not (plan.settings.repack and plan.settings.devices)
    assert plan.settings.batch >= plan.settings.ubatch
    for device, use in zip(plan.devices, plan.prediction.devices, strict=True):
        assert use.total <= device.free


@settings(max_examples=15)
@given(machines(), st.sampled_from(sorted(SHAPES)), workloads, any_overrides)
def test_overrides_are_never_changed(
    machine: Machine, model: str, workload: Workload, overrides: Overrides
) -> None:
    plan = planned(machine, model, workload, overrides)
    assume(plan is not None)
    assert plan is not None
    kept = plan.settings
    layers = plan.shape.n_layers
    for name, value in {
        "ctx": kept.ctx,
        "parallel": kept.parallel,
        "kv_type": kept.kv_type,
        "ubatch": kept.ubatch,
        "threads": kept.threads,
    }.items():
        assert getattr(overrides, name) in (None, value), name
    if overrides.gpu_layers is not None:
        assert kept.gpu_layers == min(overrides.gpu_layers, layers + 1)
    if overrides.cpu_moe is not None:
        assert len(kept.experts_in_ram) == min(overrides.cpu_moe, layers)
    assert set(plan.origins) >= overrides.given()
    assert all(plan.origins[name] == "user" for name in overrides.given())


@settings(max_examples=15)
@given(machines(), st.sampled_from(sorted(SHAPES)), workloads, any_overrides)
def test_a_plan_places_every_layer_and_expert_once(
    machine: Machine, model: str, workload: Workload, overrides: Overrides
) -> None:
    plan = planned(machine, model, workload, overrides)
    assume(plan is not None)
    assert plan is not None
    weights = sum(use.weights for use in (*plan.prediction.devices, plan.prediction.host))
    again = plan.shape.weight_bytes - plan.shape.embedding_bytes if plan.settings.repack else 0
    assert weights == plan.shape.weight_bytes + again
    assert all(count > 0 for count in plan.settings.device_layers)
    assert len(plan.settings.device_layers) == len(plan.settings.devices)
