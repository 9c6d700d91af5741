"""Machines that users describe, and GPUs that cannot be used."""

import pytest

from ossctl.app.machine import CARDS, hypothetical, parse_size, this_machine, unusable_gpus
from ossctl.errors import UsageError
from ossctl.planning.machine import GIB, MIB, Machine

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
def test_sizes_are_written_as_people_do(text: str, n_bytes: int) -> None:
    assert parse_size(text, "--vram") == n_bytes


@pytest.mark.parametrize("text", ["", "much", "-4GiB", "16GiBs", "1e3GiB", "GiB", "99999999TiB", "nan"])
def test_what_is_no_size_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="--vram"):
        parse_size(text, "--vram")


@pytest.mark.parametrize(
    ("name", "gib"),
    [
        ("RTX 4060 Ti 16GB", 16),
        ("rtx 4060 ti", 8),
        ("NVIDIA GeForce RTX 4090", 24),
        ("rtx4090", 24),
        ("A100 80GB", 80),
        ("a100", 40),
        ("Radeon RX 7900 XTX", 24),
        ("RTX 3060 12GB", 12),
    ],
)
def test_cards_are_known_by_the_names_that_people_use(name: str, gib: int) -> None:
    (device,) = hypothetical(NOTHING, cards=[name]).devices
    assert device.total == gib * GIB
    assert 0.95 * device.total < device.free < device.total
    assert any(device.description.startswith(card) for card in CARDS)


def test_an_unknown_card_names_those_alike() -> None:
    with pytest.raises(UsageError, match="RTX 4060 Turbo") as error:
        hypothetical(NOTHING, cards=["RTX 4060 Turbo"])
    assert "RTX 4060" in error.value.hint
    assert "RTX 5090" not in error.value.hint


def test_what_is_not_given_stays_as_it_is() -> None:
    machine = hypothetical(NOTHING, vram=[8 * GIB, 24 * GIB])
    assert [device.name for device in machine.devices] == ["GPU0", "GPU1"]
    assert machine.ram_total == NOTHING.ram_total
    more = hypothetical(machine, ram=64 * GIB)
    assert more.devices == machine.devices
    assert more.ram_total == 64 * GIB
    assert hypothetical(machine, vram=[0]).devices == ()


def test_this_machine_can_be_described() -> None:
    machine = this_machine()
    assert 0 < machine.ram_free <= machine.ram_total
    assert machine.cores >= 1


def test_a_gpu_that_this_build_cannot_use_is_named_with_the_fix() -> None:
    (gpu,) = unusable_gpus(["NVIDIA", "NVIDIA"], [], ["CPU", "RPC"])
    assert gpu.description == "NVIDIA GPU"
    assert "CMAKE_ARGS=-DGGML_CUDA=on pip install" in gpu.fix
    assert unusable_gpus(["NVIDIA"], ["CUDA"], ["CPU", "CUDA"]) == ()
    assert unusable_gpus(["AMD"], ["Vulkan"], ["CPU", "Vulkan"]) == ()
    assert unusable_gpus([], [], ["CPU"]) == ()


def test_a_gpu_that_a_variable_hides_is_told_from_one_without_a_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("GGML_VK_VISIBLE_DEVICES", raising=False)
    (gpu,) = unusable_gpus(["NVIDIA"], [], ["CPU", "CUDA"])
    assert "driver" in gpu.fix
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (gpu,) = unusable_gpus(["NVIDIA"], [], ["CPU", "CUDA"])
    assert "CUDA_VISIBLE_DEVICES hides it" in gpu.fix
