"""GPUs by the names that users and drivers write, with the memory that drivers report."""

from collections import Counter

import pytest

from ossctl.errors import UsageError
from ossctl.planning.cards import all_cards, find_card
from ossctl.planning.machine import GIB, MIB

NAMES = {
    "4090": "RTX 4090",
    "rtx4090": "RTX 4090",
    " RTX  4090 ": "RTX 4090",
    "NVIDIA GeForce RTX 4090": "RTX 4090",
    "5090": "RTX 5090",
    "3060": "RTX 3060 12GB",
    "3060 12GB": "RTX 3060 12GB",
    "RTX 3060 8 GiB": "RTX 3060 8GB",
    "rtx 4060 ti": "RTX 4060 Ti 8GB",
    "4060ti 16gb": "RTX 4060 Ti 16GB",
    "4070tisuper": "RTX 4070 Ti SUPER",
    "4080 Super": "RTX 4080 SUPER",
    "RTX 4090 Laptop": "RTX 4090 Laptop",
    "NVIDIA GeForce RTX 4070 Laptop GPU": "RTX 4070 Laptop",
    "3080 mobile 16GB": "RTX 3080 Laptop 16GB",
    "5080 laptop": "RTX 5080 Laptop",
    "GTX 1060 6GB": "GTX 1060 6GB",
    "1080ti": "GTX 1080 Ti",
    "1660 super": "GTX 1660 SUPER",
    "P40": "Tesla P40",
    "Tesla P100-PCIE-16GB": "Tesla P100 16GB",
    "Tesla V100-SXM2-32GB": "Tesla V100 32GB",
    "T4": "Tesla T4",
    "a100": "A100 40GB",
    "NVIDIA A100-SXM4-80GB": "A100 80GB",
    "NVIDIA H100 80GB HBM3": "H100",
    "NVIDIA B200": "B200",
    "GH200": "GH200",
    "A6000": "RTX A6000",
    "NVIDIA RTX 6000 Ada Generation": "RTX 6000 Ada",
    "PRO 6000": "RTX PRO 6000",
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": "RTX PRO 6000",
    "rtx pro 5000 72GB": "RTX PRO 5000 72GB",
    "7900xtx": "RX 7900 XTX",
    "AMD Radeon RX 6700 XT": "RX 6700 XT",
    "9070 XT": "RX 9070 XT",
    "9060xt 16gb": "RX 9060 XT 16GB",
    "W7900": "Radeon PRO W7900",
    "R9700": "Radeon AI PRO R9700",
    "MI50 32GB": "MI50 32GB",
    "AMD Instinct MI300X": "MI300X",
    "mi355x": "MI355X",
    "a770": "Arc A770 16GB",
    "Intel(R) Arc(TM) B580 Graphics": "Arc B580",
    "pro b50": "Arc Pro B50",
    "B60": "Arc Pro B60",
}


@pytest.mark.parametrize("typed", NAMES)
def test_a_card_is_found_by_the_names_of_users_and_drivers(typed: str) -> None:
    assert find_card(typed)[0] == NAMES[typed]


# As llama.cpp and nvidia-smi print them; free as llama.cpp printed it on idle machines.
REPORTED = {
    "RTX 5090": (32_105, 31_600),
    "RTX 4090": (24_082, 23_687),
    "RTX 3090": (24_117, 23_773),
    "RTX 4070 Laptop": (7_805, 7_546),
    "V100 32GB": (32_494, 32_100),
}


@pytest.mark.parametrize("name", REPORTED)
def test_memory_is_what_the_driver_reports(name: str) -> None:
    _, _, memory = find_card(name)
    assert (memory.total // MIB, memory.free // MIB) == REPORTED[name]


@pytest.mark.parametrize(("name", "total"), [("T4", 14_912), ("L4", 23_034), ("H100", 81_081)])
def test_a_total_from_a_log_leaves_room_for_the_context(name: str, total: int) -> None:
    _, _, memory = find_card(name)
    assert memory.total == total * MIB
    assert 0.97 < memory.free / memory.total < 0.99


def test_a_part_of_the_size_on_the_label_is_not_free() -> None:
    _, _, memory = find_card("RTX 4080 Laptop")
    assert (memory.total, memory.free) == (12 * GIB, int(12 * GIB * 0.975))


def test_no_card_has_more_than_it_is_sold_with() -> None:
    for card in all_cards():
        for size in card.sizes:
            assert 0 < size.free < size.total <= size.gb * 1.024 * GIB, card.name
            assert size.total > size.gb * 0.88 * GIB, card.name


def test_spellings_are_unique() -> None:
    spellings = Counter(spelling for card in all_cards() for spelling in card.spellings)
    assert [spelling for spelling, count in spellings.items() if count > 1] == []


@pytest.mark.parametrize(
    ("typed", "near", "far"),
    [
        ("RTX 4060 Turbo", "RTX 4060 Ti (8 or 16 GB)", "RTX 5090"),
        ("6000", "RTX A6000 (48 GB), RTX 6000 Ada (48 GB), RTX PRO 6000 (96 GB)", "RTX 5000"),
        ("Quadro RTX 6000", "RTX PRO 6000", "RTX 4090"),
        ("MI300", "MI300X", "MI25"),
        ("banana", "--vram 16GiB", "RTX"),
        ("", "--vram 16GiB", "RTX"),
    ],
)
def test_the_error_for_an_unknown_or_ambiguous_name_lists_similar_cards(
    typed: str, near: str, far: str
) -> None:
    with pytest.raises(UsageError, match=r"unknown GPU|is ambiguous|no GPU is named") as error:
        find_card(typed)
    assert typed in error.value.message
    assert error.value.hint is not None
    assert near in error.value.hint
    assert far not in error.value.hint


def test_the_error_for_an_unknown_size_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no RTX 4090 with 48 GB") as error:
        find_card("RTX 4090 48GB")
    assert "RTX 4090 (24 GB)" in (error.value.hint or "")
    assert "--vram 48GiB" in (error.value.hint or "")
