"""Hypothetical machines, devices as the planner sees them, and GPUs that cannot be used."""

from dataclasses import replace

import pytest

from ossctl.app.placement.fit import fit_of
from ossctl.app.placement.machine import (
    hypothetical,
    parse_size,
    parse_vram,
    planned_device,
    this_machine,
    unusable_gpus,
)
from ossctl.app.placement.shapes import known_shapes
from ossctl.errors import UsageError
from ossctl.planning.cards import nominal
from ossctl.planning.machine import GIB, MIB, Machine
from ossctl.planning.plan import Plan
from ossctl.runtime import devices as runtime
from ossctl.runtime.devices import DeviceKind, placeable

GPU, IGPU = DeviceKind.GPU, DeviceKind.INTEGRATED_GPU

NOTHING = Machine((), 16 * GIB, 15 * GIB, 4)


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("16GiB", 16 * GIB),
        ("24576MiB", 24 * GIB),
        ("16GB", 16 * 10**9),
        ("16", 16 * GIB),
        ("1.5 gib", 1536 * MIB),
        ("0", 0),
    ],
)
def test_sizes_can_have_several_units(text: str, n_bytes: int) -> None:
    assert parse_size(text, "--vram") == n_bytes


@pytest.mark.parametrize("text", ["", "much", "-4GiB", "16GiBs", "1e3GiB", "GiB", "99999999TiB", "nan"])
def test_an_invalid_size_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="--vram"):
        parse_size(text, "--vram")


@pytest.mark.parametrize("label", ["32GiB", "32", "32 gib"])
def test_a_part_of_the_size_on_the_label_is_not_free(label: str) -> None:
    memory = parse_vram(label)
    assert (memory.total, memory.free) == (32 * GIB, int(32 * GIB * 0.975))
    assert parse_vram("32GB").free == int(32 * 10**9 * 0.975)


@pytest.mark.parametrize("size", ["32105MiB", "32105 mib"])
def test_a_size_in_mib_is_free_in_full(size: str) -> None:
    memory = parse_vram(size)
    assert memory.total == memory.free == 32_105 * MIB
    (device,) = hypothetical(NOTHING, vram=[memory]).devices
    assert device.free == 32_105 * MIB


def test_a_card_has_its_drivers_memory_and_its_own_backend() -> None:
    nvidia, amd, intel = hypothetical(NOTHING, cards=["5090", "rx 7900 xtx", "Arc B580"]).devices
    assert (nvidia.total, nvidia.free) == (32_105 * MIB, 31_600 * MIB)
    assert [device.name for device in (nvidia, amd, intel)] == ["GPU0", "GPU1", "GPU2"]
    assert [device.backend for device in (nvidia, amd, intel)] == ["CUDA", "ROCm", "Vulkan"]
    assert not any(device.shares_ram for device in (nvidia, amd, intel))
    assert hypothetical(NOTHING, cards=["5090"]).ram_total == NOTHING.ram_total


def test_unified_memory_is_counted_once() -> None:
    spark = hypothetical(NOTHING, cards=["DGX Spark"])
    (gpu,) = spark.devices
    assert gpu.shares_ram
    assert spark.ram_total == gpu.total == 122_502 * MIB
    assert spark.ram_free == gpu.free == int(spark.ram_total * 0.95)


def test_unified_memory_is_given_by_the_name_or_by_ram_but_not_both() -> None:
    by_name = hypothetical(NOTHING, cards=["M4 Max 64GB"])
    assert by_name == hypothetical(NOTHING, cards=["M4 Max"], ram=64 * GIB)
    with pytest.raises(UsageError, match="already sets the RAM"):
        hypothetical(NOTHING, cards=["M4 Max 64GB"], ram=64 * GIB)
    with pytest.raises(UsageError, match="the memory of the M4 Max is missing"):
        hypothetical(NOTHING, cards=["M4 Max"])
    with pytest.raises(UsageError, match="one unified memory"):
        hypothetical(NOTHING, cards=["DGX Spark", "DGX Spark"])


def test_an_integrated_gpu_is_not_used_beside_a_card_but_its_ram_is() -> None:
    both = hypothetical(NOTHING, cards=["Strix Halo 128GB", "RTX 3090"])
    assert [device.description for device in both.devices] == ["RTX 3090"]
    assert both.ram_total == 128 * GIB


def test_this_machines_values_are_the_defaults() -> None:
    machine = hypothetical(NOTHING, vram=[nominal(8 * GIB), nominal(24 * GIB)])
    assert [device.name for device in machine.devices] == ["GPU0", "GPU1"]
    assert machine.ram_total == NOTHING.ram_total
    more = hypothetical(machine, ram=64 * GIB)
    assert more.devices == machine.devices
    assert more.ram_total == 64 * GIB
    assert hypothetical(machine, vram=[nominal(0)]).devices == ()


def found(
    name: str, backend: str, kind: DeviceKind, total: int, free: int = 0, pci: str = ""
) -> runtime.BackendDevice:
    """A device as ggml reports it, with memory in MiB."""
    return runtime.BackendDevice(name, backend, name, kind, (free or total) * MIB, total * MIB, pci)


def test_a_card_listed_by_two_backends_is_one_device() -> None:
    seen = [
        found("CUDA0", "CUDA", GPU, 24_000, pci="0000:01:00.0"),
        found("CUDA1", "CUDA", GPU, 16_000, pci="0000:02:00.0"),
        found("Vulkan0", "Vulkan", GPU, 16_000, pci="0000:02:00.0"),
        found("Vulkan1", "Vulkan", GPU, 24_000, pci="0000:01:00.0"),
        found("Vulkan2", "Vulkan", GPU, 12_000, pci="0000:03:00.0"),
        found("Vulkan3", "Vulkan", IGPU, 16_000, pci="0000:04:00.0"),
        found("RPC0", "RPC", GPU, 8_000),
        found("CPU", "CPU", DeviceKind.CPU, 64_000),
    ]
    assert [device.name for device in placeable(seen)] == ["RPC0", "CUDA0", "CUDA1", "Vulkan2"]


def test_a_gb10_in_a_build_with_vulkan_is_one_device_that_shares_ram() -> None:
    seen = [
        found("CUDA0", "CUDA", IGPU, 122_502, 117_377),
        found("Vulkan0", "Vulkan", IGPU, 183_000),
        found("CPU", "CPU", DeviceKind.CPU, 122_502),
    ]
    devices = tuple(planned_device(each, 122_502 * MIB) for each in placeable(seen))
    assert [(device.name, device.shares_ram, device.carveout) for device in devices] == [("CUDA0", True, 0)]
    spark = Machine(devices, 122_502 * MIB, 117_377 * MIB, 20)
    assert fits("120b", spark)
    assert not fits("120b", replace(spark, ram_free=60 * GIB)), "what others have of the RAM is not free"


def test_an_integrated_gpu_beside_an_rpc_device_is_used() -> None:
    seen = [found("RPC0", "RPC", GPU, 8_000), found("Vulkan0", "Vulkan", IGPU, 65_258)]
    assert [device.name for device in placeable(seen)] == ["RPC0", "Vulkan0"]


@pytest.mark.parametrize("backend", ["Vulkan", "ROCm"])
def test_the_carveout_of_an_apu_is_not_taken_from_ram(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Strix Halo with 128 GB, 96 GB of it for the GPU, leaves 31 GiB to the system."""
    monkeypatch.setattr("ossctl.runtime.host.carved_out", lambda *_: 96 * GIB)
    total = 96 * 1024 + (15_900 if backend == "Vulkan" else 0)  # Vulkan adds half of the RAM
    gpu = planned_device(found("GPU0", backend, IGPU, total, total - 500), 31 * GIB)
    assert (gpu.shares_ram, gpu.carveout) == (True, 96 * GIB - 500 * MIB)
    assert fits("120b", Machine((gpu,), 31 * GIB, 29 * GIB, 16))


def test_memory_of_an_apu_beyond_the_carveout_is_taken_from_ram() -> None:
    gpu = planned_device(found("Vulkan0", "Vulkan", IGPU, 65_258, 65_082), 125 * GIB)
    assert (gpu.shares_ram, gpu.carveout) == (True, 0)
    machine = Machine((gpu,), 125 * GIB, 120 * GIB, 16)
    assert fits("20b", machine)
    assert not fits("20b", replace(machine, ram_free=16 * GIB))


def test_a_macs_gpu_shares_ram_although_ggml_calls_it_discrete() -> None:
    gpu = planned_device(found("MTL0", "MTL", GPU, 10_922), 16 * GIB)
    assert (gpu.backend, gpu.shares_ram, gpu.carveout) == ("Metal", True, 0)


def test_the_cpu_of_a_worker_on_this_machine_is_not_more_memory() -> None:
    remote = found("RPC0", "RPC", GPU, 24_000, 12_000)
    elsewhere, here = (planned_device(each, 24 * GIB) for each in (remote, replace(remote, is_ram=True)))
    assert fits("20b", Machine((elsewhere,), 24 * GIB, 11 * GIB, 4))
    assert (here.shares_ram, here.carveout) == (True, 0)
    assert not fits("20b", Machine((here,), 24 * GIB, 11 * GIB, 4))


def test_free_memory_is_limited_to_the_total() -> None:
    managed = planned_device(found("CUDA0", "CUDA", GPU, 24_000, 60_000), 64 * GIB)
    assert managed.free == managed.total == 24_000 * MIB


SHAPES = {
    "20b": known_shapes()["ggml-org/gpt-oss-20b-GGUF/gpt-oss-20b-MXFP4.gguf"],
    "120b": known_shapes()["ggml-org/gpt-oss-120b-GGUF/gpt-oss-120b-mxfp4-00001-of-00003.gguf"],
}


def fits(model: str, machine: Machine) -> bool:
    """Whether all of the model fits on the machine's GPU."""
    outcome = fit_of(SHAPES[model], machine)
    return isinstance(outcome, Plan) and outcome.all_on_gpu


def test_this_machine_has_ram_and_cores() -> None:
    machine = this_machine()
    assert 0 < machine.ram_free <= machine.ram_total
    assert machine.cores >= 1


def test_a_gpu_that_this_build_does_not_support_is_reported_with_the_fix() -> None:
    (gpu,) = unusable_gpus(["NVIDIA", "NVIDIA"], [], ["CPU", "RPC"])
    assert gpu.description == "NVIDIA GPU"
    assert gpu.fix.endswith("-m ossctl.build cuda")
    assert unusable_gpus(["NVIDIA"], ["CUDA"], ["CPU", "CUDA"]) == ()
    assert unusable_gpus(["AMD"], ["Vulkan"], ["CPU", "Vulkan"]) == ()
    assert unusable_gpus([], [], ["CPU"]) == ()


def test_a_gpu_hidden_by_a_variable_and_one_without_a_driver_are_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("GGML_VK_VISIBLE_DEVICES", raising=False)
    (gpu,) = unusable_gpus(["NVIDIA"], [], ["CPU", "CUDA"])
    assert "driver" in gpu.fix
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (gpu,) = unusable_gpus(["NVIDIA"], [], ["CPU", "CUDA"])
    assert "CUDA_VISIBLE_DEVICES hides it" in gpu.fix
