"""Computers with unified memory."""

import pytest

from ossctl.errors import UsageError
from ossctl.planning.machine import GIB, MIB
from ossctl.planning.unified import find_unified

# input: name, GPU's backend, GiB in total, GiB that the GPU can use
COMPUTERS = {
    "Strix Halo 128GB": ("Strix Halo 128GB", "Vulkan", 128, 96),
    "strixhalo 64 GB": ("Strix Halo 64GB", "Vulkan", 64, 48),
    "AMD Ryzen AI Max+ 395 96GB": ("Strix Halo 96GB", "Vulkan", 96, 72),
    "M1 16GB": ("M1 16GB", "Metal", 16, 10.667),
    "m2 24gb": ("M2 24GB", "Metal", 24, 16),
    "M3 Pro 36GB": ("M3 Pro 36GB", "Metal", 36, 27),
    "M4 Max 64GB": ("M4 Max 64GB", "Metal", 64, 48),
    "Apple M2 Ultra 192GB": ("M2 Ultra 192GB", "Metal", 192, 144),
    "M5 Max 128GB": ("M5 Max 128GB", "Metal", 128, 96),
}


@pytest.mark.parametrize("typed", COMPUTERS)
def test_the_gpu_of_a_computer_gets_the_share_that_its_system_allows(typed: str) -> None:
    name, backend, gib, for_gpu = COMPUTERS[typed]
    found = find_unified(typed)
    assert found is not None
    ram, gpu = found.ram_and_gpu(None)
    assert ram == gib * GIB
    assert (gpu.description, gpu.backend, gpu.shares_ram) == (name, backend, True)
    assert gpu.total == pytest.approx(for_gpu * GIB, rel=0.001)
    assert gpu.free <= gpu.total
    assert gpu.ram_share(gpu.total) == gpu.total


@pytest.mark.parametrize("typed", ["DGX Spark", "dgxspark", "NVIDIA GB10", "DGX Spark 128GB"])
def test_a_dgx_spark_has_what_cuda_reports(typed: str) -> None:
    found = find_unified(typed)
    assert found is not None
    ram, gpu = found.ram_and_gpu(None)
    assert ram == gpu.total == 122_502 * MIB
    assert gpu.description == "DGX Spark"


@pytest.mark.parametrize("typed", ["RTX 4090", "M40", "MI50 32GB", "128GB", "", "M6 Max 64GB", "Halo"])
def test_other_names_are_not_computers_with_unified_memory(typed: str) -> None:
    assert find_unified(typed) is None


@pytest.mark.parametrize("typed", ["Strix Halo 48GB", "DGX Spark 64GB", "M4 Max 4GB"])
def test_an_unknown_size_is_a_usage_error(typed: str) -> None:
    with pytest.raises(UsageError, match="there is no"):
        find_unified(typed)
