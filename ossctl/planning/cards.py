"""GPUs that people have, by the names that they give them, and the memory that drivers report for them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from ossctl.errors import UsageError
from ossctl.planning.machine import GIB, MIB

# What is free of the memory that a card is sold with, or that nvidia-smi prints, when nothing runs on it:
# 15.6 of 16 GiB. The driver keeps some from everybody, and a process's context takes some more.
_FREE_OF_LABEL = 0.975
# What is free of the total that llama.cpp prints, which the driver's part is not in: a context takes 395 MiB
# of an RTX 4090's 24,082, 505 of an RTX 5090's 32,105, 394 of a V100's 32,494.
_FREE_OF_TOTAL = 0.984


@dataclass(frozen=True)
class Memory:
    """Bytes of a GPU in all, and free when nothing else runs on it; `gb` is what it is sold as."""

    gb: int
    total: int
    free: int


def as_sold(n_bytes: int) -> Memory:
    """A size off a label, of which a part is never free."""
    return Memory(round(n_bytes / GIB), n_bytes, int(n_bytes * _FREE_OF_LABEL))


def exactly(n_bytes: int) -> Memory:
    """So much is to be had."""
    return Memory(round(n_bytes / GIB), n_bytes, n_bytes)


def _logged(gb: int, total: int, free: int | None = None) -> Memory:
    """MiB as llama.cpp's logs have them: `VRAM: 24082 MiB`, `CUDA0: … (24082 MiB, 23687 MiB free)`.

    On Linux, where drivers differ by up to 1 %; total and free are from one log. On Windows the total is what
    nvidia-smi prints.
    """
    return Memory(gb, total * MIB, MIB * (free or int(total * _FREE_OF_TOTAL)))


def _listed(gb: int, total: int) -> Memory:
    """MiB in all as nvidia-smi prints them; with ECC, which takes a part, where it is on by default."""
    return Memory(gb, total * MIB, int(total * MIB * _FREE_OF_LABEL))


@dataclass(frozen=True)
class Card:
    """A GPU on a card or in a laptop; of several sizes the first is meant if nothing is said."""

    name: str
    backend: str
    sizes: tuple[Memory, ...]

    @cached_property
    def spellings(self) -> frozenset[str]:
        """Its name as `_plain` leaves it, with and without what people leave out."""
        whole = _plain(self.name)
        shorter = _FAMILY.sub("", whole)
        return frozenset({whole, shorter, _FAMILY.sub("", shorter)})

    def sold_as(self) -> str:
        """`RTX 4060 Ti (8 or 16 GB)`"""
        return f"{self.name} ({' or '.join(str(size.gb) for size in self.sizes)} GB)"


# Sizes as sold where no log was found. MiB: llama.cpp's start-up lines and memory tables, and nvidia-smi's
# tables, in the issues of ggml-org/llama.cpp and in logs that people keep in public repositories.
_Sizes = Mapping[str, int | Memory | tuple[int | Memory, ...]]
_NVIDIA: _Sizes = {
    "GTX 1050 Ti": _logged(4, 4_038), "GTX 1060": (_logged(6, 6_063), 3), "GTX 1070": 8, "GTX 1070 Ti": 8,
    "GTX 1080": _logged(8, 8_107), "GTX 1080 Ti": 11,
    "GTX 1650": _logged(4, 3_712), "GTX 1650 SUPER": 4, "GTX 1660": 6, "GTX 1660 SUPER": 6,
    "GTX 1660 Ti": _logged(6, 5_747),
    "RTX 2060": (6, _logged(12, 11_833)), "RTX 2060 SUPER": 8, "RTX 2070": 8, "RTX 2070 SUPER": 8,
    "RTX 2080": 8, "RTX 2080 SUPER": 8, "RTX 2080 Ti": 11,
    "RTX 3050": (_logged(6, 5_803), 8), "RTX 3060": (_logged(12, 11_906), 8), "RTX 3060 Ti": 8,
    "RTX 3070": _logged(8, 7_819), "RTX 3070 Ti": 8, "RTX 3080": (10, 12), "RTX 3080 Ti": 12,
    "RTX 3090": _logged(24, 24_117, 23_773), "RTX 3090 Ti": _listed(24, 24_564),
    "RTX 4060": 8, "RTX 4060 Ti": (8, _logged(16, 15_944)), "RTX 4070": _logged(12, 11_866),
    "RTX 4070 SUPER": 12, "RTX 4070 Ti": 12, "RTX 4070 Ti SUPER": _listed(16, 16_376),
    "RTX 4080": _listed(16, 16_376), "RTX 4080 SUPER": _logged(16, 15_937),
    "RTX 4090": _logged(24, 24_082, 23_687), "RTX 4090 D": 24,
    "RTX 5050": 8, "RTX 5060": _listed(8, 8_151), "RTX 5060 Ti": (8, _logged(16, 15_825)),
    "RTX 5070": _listed(12, 12_227), "RTX 5070 Ti": _logged(16, 15_842), "RTX 5080": _logged(16, 15_880),
    "RTX 5090": _logged(32, 32_105, 31_600),
    "RTX 3050 Laptop": (4, 6), "RTX 3050 Ti Laptop": 4, "RTX 3060 Laptop": 6, "RTX 3070 Laptop": 8,
    "RTX 3070 Ti Laptop": _logged(8, 7_850), "RTX 3080 Laptop": (8, 16), "RTX 3080 Ti Laptop": 16,
    "RTX 4050 Laptop": 6, "RTX 4060 Laptop": _logged(8, 7_815),
    "RTX 4070 Laptop": _logged(8, 7_805, 7_546), "RTX 4080 Laptop": 12, "RTX 4090 Laptop": 16,
    "RTX 5050 Laptop": _listed(8, 8_151), "RTX 5060 Laptop": _listed(8, 8_151),
    "RTX 5070 Laptop": _listed(8, 8_151), "RTX 5070 Ti Laptop": 12, "RTX 5080 Laptop": 16,
    "RTX 5090 Laptop": 24,
    "RTX A2000": (6, 12), "RTX A4000": 16, "RTX A4500": 20, "RTX A5000": _listed(24, 24_564),
    "RTX A5500": 24, "RTX A6000": _listed(48, 49_140),
    "RTX 2000 Ada": 16, "RTX 4000 Ada": 20, "RTX 4500 Ada": 24, "RTX 5000 Ada": 32,
    "RTX 6000 Ada": _listed(48, 49_140),
    "RTX PRO 4000": 24, "RTX PRO 4500": 32, "RTX PRO 5000": (48, 72),
    "RTX PRO 6000": _logged(96, 97_247),
    "Tesla P40": _listed(24, 22_919), "Tesla P100": (_listed(16, 16_276), 12),
    "Tesla V100": (_logged(16, 16_160), _logged(32, 32_494, 32_100)), "Tesla T4": _logged(16, 14_912),
    "L4": _listed(24, 23_034), "L40S": _logged(48, 45_467), "A10": _listed(24, 23_028),
    "A10G": _listed(24, 23_028), "A40": _listed(48, 46_068),
    "A100": (_listed(40, 40_960), _logged(80, 81_151)), "H100": _logged(80, 81_081),
    "H200": _listed(141, 143_771), "GH200": _listed(96, 97_871), "B200": _listed(180, 183_359),
}  # fmt: skip
_AMD: _Sizes = {
    "RX 6600": 8, "RX 6600 XT": 8, "RX 6650 XT": 8, "RX 6700": 10, "RX 6700 XT": _logged(12, 12_272),
    "RX 6750 XT": 12, "RX 6800": _logged(16, 16_368), "RX 6800 XT": 16, "RX 6900 XT": 16, "RX 6950 XT": 16,
    "RX 7600": 8, "RX 7600 XT": 16, "RX 7700 XT": 12, "RX 7800 XT": 16, "RX 7900 GRE": 16, "RX 7900 XT": 20,
    "RX 7900 XTX": _logged(24, 24_560), "RX 9060 XT": (8, 16), "RX 9070": 16,
    "RX 9070 XT": _logged(16, 16_304),
    "Radeon PRO W6800": 32, "Radeon PRO W7800": (32, 48), "Radeon PRO W7900": 48,
    "Radeon PRO V620": _logged(32, 30_704), "Radeon AI PRO R9700": _logged(32, 32_624),
    "Radeon VII": 16, "Radeon Pro VII": _logged(16, 16_368),
    "MI25": 16, "MI50": (_logged(16, 16_368), _logged(32, 32_752)), "MI60": 32, "MI100": 32,
    "MI210": _logged(64, 65_520), "MI250X": 128, "MI300X": 192, "MI325X": 256, "MI355X": 288,
}  # fmt: skip
_INTEL: _Sizes = {
    "Arc A380": 6, "Arc A580": 8, "Arc A750": 8, "Arc A770": (16, 8), "Arc B570": 10,
    "Arc B580": _logged(12, 12_216), "Arc Pro B50": 16, "Arc Pro B60": 24,
}  # fmt: skip

# What makers and drivers write around the name that people know a card by.
_AROUND = re.compile(
    r"nvidia|geforce|\bamd\b|radeon|intel|instinct|quadro|tesla|\((?:r|tm)\)|blackwell|generation|edition"
    r"|workstation|server|graphics|\bgpu\b|sxm\d*|pcie|hbm\de?"
)
_FAMILY = re.compile(r"^(rtx|gtx|rx|arc|ai|pro(?=[wvbr]\d))")
_SIZE = re.compile(r"(.*?)\b(\d+)\s*gi?b\b(.*)")


def find_card(text: str) -> tuple[str, str, Memory]:
    """Name, backend and memory of the card that is meant; `16GB` in its name tells which of two.

    Raises UsageError, with the names that are nearest, for one that is not in the table.
    """
    lower = text.lower().replace("mobile", "laptop")
    sized = _SIZE.fullmatch(lower)
    name = _plain(f"{sized[1]} {sized[3]}" if sized else lower)
    found = [card for card in all_cards() if name in card.spellings]
    if len(found) != 1:
        raise _unknown(text, name, found)
    (card,) = found
    memory = _of_size(card, int(sized[2])) if sized else card.sizes[0]
    shown = f"{card.name} {memory.gb}GB" if len(card.sizes) > 1 else card.name
    return shown, card.backend, memory


def _of_size(card: Card, gb: int) -> Memory:
    for size in card.sizes:
        if size.gb == gb:
            return size
    raise UsageError(
        f"--gpu: the table has no {card.name} with {gb} GB",
        f"It has {card.sold_as()}; for any other give its memory, as --vram {gb}GiB.",
    )


def all_cards() -> Iterator[Card]:
    """The table, one maker after the other."""
    # Vulkan is what Intel's cards run on in most builds; ggml's own backend for them is SYCL.
    for backend, table in (("CUDA", _NVIDIA), ("ROCm", _AMD), ("Vulkan", _INTEL)):
        for name, sizes in table.items():
            each = sizes if isinstance(sizes, tuple) else (sizes,)
            memories = (as_sold(size * GIB) if isinstance(size, int) else size for size in each)
            yield Card(name, backend, tuple(memories))


def _plain(name: str) -> str:
    """Letters and digits of a name without what is around it: `rtx4060ti`."""
    return re.sub(r"[^a-z0-9]", "", _AROUND.sub(" ", name.lower()))


def _unknown(text: str, name: str, found: list[Card]) -> UsageError:
    """No card of that name, or several: the nearest, by family and number, else by spelling."""
    cards = list(all_cards())
    near = found or [card for card in cards if _number(name) and _number(name) == _number(card.name)]
    if not near:
        spellings = {spelling: card for card in cards for spelling in card.spellings}
        alike = get_close_matches(name, spellings, n=5, cutoff=0.5)
        near = list(dict.fromkeys(spellings[spelling] for spelling in alike))
    known = f"Near it are {', '.join(card.sold_as() for card in near)}; for" if near else "For"
    return UsageError(
        f"--gpu: no one card of the table is called {text or 'nothing'}",
        f"{known} any other give its memory, as --vram 16GiB.",
    )


def _number(name: str) -> str:
    """The first number of two digits or more in a name, which tells the model."""
    found = re.search(r"\d{2,}", name)
    return found[0] if found else ""
