"""The recommended model for a machine."""

import pytest

from ossctl.app.library.resolve import recommended_for
from ossctl.app.placement.machine import hypothetical
from ossctl.planning.cards import nominal
from ossctl.planning.machine import GIB, Machine


@pytest.mark.parametrize(
    ("vram", "ram", "name"),
    [
        ([], 16, "20b"),
        ([], 128, "20b"),
        ([8], 32, "20b"),
        ([16], 32, "20b"),
        ([24], 64, "120b"),
        ([80], 64, "120b"),
        ([], 4, "20b"),
    ],
)
def test_the_largest_model_with_all_layers_on_gpus_is_recommended(
    vram: list[int], ram: int, name: str
) -> None:
    here = Machine((), ram * GIB, ram * GIB, 8, ())
    machine = hypothetical(here, vram=[nominal(size * GIB) for size in vram], ram=ram * GIB)
    assert recommended_for(machine).name == name
