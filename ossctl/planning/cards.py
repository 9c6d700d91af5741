"""A table of GPUs by name, with the memory that drivers report."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from ossctl.errors import UsageError
from ossctl.planning.machine import GIB, MIB

# The free share, on an idle GPU, of the memory on the label or in nvidia-smi: 15.6 of 16 GiB. The driver
# reserves some, and a process's context takes some more.
_FREE_OF_LABEL = 0.975
# The free share of the total in llama.cpp's logs, which excludes what the driver reserves. A context takes
# 395 of 24,082 MiB on an RTX 4090, 505 of 32,105 on an RTX 5090, 394 of 32,494 on a V100.
_FREE_OF_TOTAL = 0.984


@dataclass(frozen=True)
class Memory:
    """A GPU's memory in bytes, `free` being what an idle GPU has left. `gb` is the size on the label."""

    gb: int
    total: int
    free: int


def nominal(n_bytes: int) -> Memory:
    """A size as on the label, of which a part is never free."""
    return Memory(round(n_bytes / GIB), n_bytes, int(n_bytes * _FREE_OF_LABEL))


def exact(n_bytes: int) -> Memory:
    """A size that is free in full."""
    return Memory(round(n_bytes / GIB), n_bytes, n_bytes)


def _from_log(gb: int, total: int, free: int | None = None) -> Memory:
    """MiB from llama.cpp's logs on Linux: `VRAM: 24082 MiB`, `CUDA0: … (24082 MiB, 23687 MiB free)`.

    Drivers differ by up to 1 %.
    """
    return Memory(gb, total * MIB, MIB * (free or int(total * _FREE_OF_TOTAL)))


def _from_smi(gb: int, total: int) -> Memory:
    """The total MiB in nvidia-smi, without what ECC takes where it is on by default."""
    return Memory(gb, total * MIB, int(total * MIB * _FREE_OF_LABEL))


@dataclass(frozen=True)
class Card:
    """A discrete GPU. The first of its `sizes` is the default."""

    name: str
    backend: str
    sizes: tuple[Memory, ...]

    @cached_property
    def spellings(self) -> frozenset[str]:
        """The normalised name, with and without its family."""
        full = _normalized(self.name)
        shorter = _FAMILY.sub("", full)
        return frozenset({full, shorter, _FAMILY.sub("", shorter)})

    @property
    def label(self) -> str:
        """`RTX 4060 Ti (8 or 16 GB)`."""
        return f"{self.name} ({' or '.join(str(size.gb) for size in self.sizes)} GB)"


# A plain number is the size on the label in GB. MiB are from logs of llama.cpp and output of nvidia-smi in
# issues of ggml-org/llama.cpp and in public repositories.
_Sizes = Mapping[str, int | Memory | tuple[int | Memory, ...]]
_NVIDIA: _Sizes = {
    "GTX 1050 Ti": _from_log(4, 4_038), "GTX 1060": (_from_log(6, 6_063), 3), "GTX 1070": 8, "GTX 1070 Ti": 8,
    "GTX 1080": _from_log(8, 8_107), "GTX 1080 Ti": 11,
    "GTX 1650": _from_log(4, 3_712), "GTX 1650 SUPER": 4, "GTX 1660": 6, "GTX 1660 SUPER": 6,
    "GTX 1660 Ti": _from_log(6, 5_747),
    "RTX 2060": (6, _from_log(12, 11_833)), "RTX 2060 SUPER": 8, "RTX 2070": 8, "RTX 2070 SUPER": 8,
    "RTX 2080": 8, "RTX 2080 SUPER": 8, "RTX 2080 Ti": 11,
    "RTX 3050": (_from_log(6, 5_803), 8), "RTX 3060": (_from_log(12, 11_906), 8), "RTX 3060 Ti": 8,
    "RTX 3070": _from_log(8, 7_819), "RTX 3070 Ti": 8, "RTX 3080": (10, 12), "RTX 3080 Ti": 12,
    "RTX 3090": _from_log(24, 24_117, 23_773), "RTX 3090 Ti": _from_smi(24, 24_564),
    "RTX 4060": 8, "RTX 4060 Ti": (8, _from_log(16, 15_944)), "RTX 4070": _from_log(12, 11_866),
    "RTX 4070 SUPER": 12, "RTX 4070 Ti": 12, "RTX 4070 Ti SUPER": _from_smi(16, 16_376),
    "RTX 4080": _from_smi(16, 16_376), "RTX 4080 SUPER": _from_log(16, 15_937),
    "RTX 4090": _from_log(24, 24_082, 23_687), "RTX 4090 D": 24,
    "RTX 5050": 8, "RTX 5060": _from_smi(8, 8_151), "RTX 5060 Ti": (8, _from_log(16, 15_825)),
    "RTX 5070": _from_smi(12, 12_227), "RTX 5070 Ti": _from_log(16, 15_842),
    "RTX 5080": _from_log(16, 15_880), "RTX 5090": _from_log(32, 32_105, 31_600),
    "RTX 3050 Laptop": (4, 6), "RTX 3050 Ti Laptop": 4, "RTX 3060 Laptop": 6, "RTX 3070 Laptop": 8,
    "RTX 3070 Ti Laptop": _from_log(8, 7_850), "RTX 3080 Laptop": (8, 16), "RTX 3080 Ti Laptop": 16,
    "RTX 4050 Laptop": 6, "RTX 4060 Laptop": _from_log(8, 7_815),
    "RTX 4070 Laptop": _from_log(8, 7_805, 7_546), "RTX 4080 Laptop": 12, "RTX 4090 Laptop": 16,
    "RTX 5050 Laptop": _from_smi(8, 8_151), "RTX 5060 Laptop": _from_smi(8, 8_151),
    "RTX 5070 Laptop": _from_smi(8, 8_151), "RTX 5070 Ti Laptop": 12, "RTX 5080 Laptop": 16,
    "RTX 5090 Laptop": 24,
    "RTX A2000": (6, 12), "RTX A4000": 16, "RTX A4500": 20, "RTX A5000": _from_smi(24, 24_564),
    "RTX A5500": 24, "RTX A6000": _from_smi(48, 49_140),
    "RTX 2000 Ada": 16, "RTX 4000 Ada": 20, "RTX 4500 Ada": 24, "RTX 5000 Ada": 32,
    "RTX 6000 Ada": _from_smi(48, 49_140),
    "RTX PRO 4000": 24, "RTX PRO 4500": 32, "RTX PRO 5000": (48, 72),
    "RTX PRO 6000": _from_log(96, 97_247),
    "Tesla P40": _from_smi(24, 22_919), "Tesla P100": (_from_smi(16, 16_276), 12),
    "Tesla V100": (_from_log(16, 16_160), _from_log(32, 32_494, 32_100)), "Tesla T4": _from_log(16, 14_912),
    "L4": _from_smi(24, 23_034), "L40S": _from_log(48, 45_467), "A10": _from_smi(24, 23_028),
    "A10G": _from_smi(24, 23_028), "A40": _from_smi(48, 46_068),
    "A100": (_from_smi(40, 40_960), _from_log(80, 81_151)), "H100": _from_log(80, 81_081),
    "H200": _from_smi(141, 143_771), "GH200": _from_smi(96, 97_871), "B200": _from_smi(180, 183_359),
}  # fmt: skip
_AMD: _Sizes = {
    "RX 6600": 8, "RX 6600 XT": 8, "RX 6650 XT": 8, "RX 6700": 10, "RX 6700 XT": _from_log(12, 12_272),
    "RX 6750 XT": 12, "RX 6800": _from_log(16, 16_368), "RX 6800 XT": 16, "RX 6900 XT": 16, "RX 6950 XT": 16,
    "RX 7600": 8, "RX 7600 XT": 16, "RX 7700 XT": 12, "RX 7800 XT": 16, "RX 7900 GRE": 16, "RX 7900 XT": 20,
    "RX 7900 XTX": _from_log(24, 24_560), "RX 9060 XT": (8, 16), "RX 9070": 16,
    "RX 9070 XT": _from_log(16, 16_304),
    "Radeon PRO W6800": 32, "Radeon PRO W7800": (32, 48), "Radeon PRO W7900": 48,
    "Radeon PRO V620": _from_log(32, 30_704), "Radeon AI PRO R9700": _from_log(32, 32_624),
    "Radeon VII": 16, "Radeon Pro VII": _from_log(16, 16_368),
    "MI25": 16, "MI50": (_from_log(16, 16_368), _from_log(32, 32_752)), "MI60": 32, "MI100": 32,
    "MI210": _from_log(64, 65_520), "MI250X": 128, "MI300X": 192, "MI325X": 256, "MI355X": 288,
}  # fmt: skip
_INTEL: _Sizes = {
    "Arc A380": 6, "Arc A580": 8, "Arc A750": 8, "Arc A770": (16, 8), "Arc B570": 10,
    "Arc B580": _from_log(12, 12_216), "Arc Pro B50": 16, "Arc Pro B60": 24,
}  # fmt: skip

# Words that vendors and drivers add to the common name of a card.
_NOISE = re.compile(
    r"nvidia|geforce|\bamd\b|radeon|intel|instinct|quadro|tesla|\((?:r|tm)\)|blackwell|generation|edition"
    r"|workstation|server|graphics|\bgpu\b|sxm\d*|pcie|hbm\de?"
)
_FAMILY = re.compile(r"^(rtx|gtx|rx|arc|ai|pro(?=[wvbr]\d))")
_SIZE = re.compile(r"(.*?)\b(\d+)\s*gi?b\b(.*)")


def find_card(text: str) -> tuple[str, str, Memory]:
    """Name, backend and memory of a card. A size such as `16GB` in `text` selects one of several.

    Raises UsageError, with similar names, if `text` matches no card or several.
    """
    lower = text.lower().replace("mobile", "laptop")
    sized = _SIZE.fullmatch(lower)
    name = _normalized(f"{sized[1]} {sized[3]}" if sized else lower)
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
        f"--gpu: there is no {card.name} with {gb} GB",
        f"Known sizes: {card.label}. For another card use --vram {gb}GiB.",
    )


def all_cards() -> Iterator[Card]:
    """All cards of the table."""
    # Intel's cards mostly run on Vulkan; ggml's own backend for them is SYCL.
    for backend, table in (("CUDA", _NVIDIA), ("ROCm", _AMD), ("Vulkan", _INTEL)):
        for name, sizes in table.items():
            memories = sizes if isinstance(sizes, tuple) else (sizes,)
            yield Card(
                name,
                backend,
                tuple(nominal(size * GIB) if isinstance(size, int) else size for size in memories),
            )


def _normalized(name: str) -> str:
    """Lower-case letters and digits without vendor names and the like: `rtx4060ti`."""
    return re.sub(r"[^a-z0-9]", "", _NOISE.sub(" ", name.lower()))


def _unknown(text: str, name: str, found: list[Card]) -> UsageError:
    """The error for an unknown or ambiguous name, with cards of the same number or a similar spelling."""
    cards = list(all_cards())
    similar = found or [card for card in cards if _number(name) and _number(name) == _number(card.name)]
    if not similar:
        spellings = {spelling: card for card in cards for spelling in card.spellings}
        matches = get_close_matches(name, spellings, n=5, cutoff=0.5)
        similar = list(dict.fromkeys(spellings[spelling] for spelling in matches))
    known = f"Similar: {', '.join(card.label for card in similar)}. " if similar else ""
    problem = f"{text} is ambiguous" if found else f"unknown GPU {text}" if text else "no GPU is named"
    return UsageError(f"--gpu: {problem}", f"{known}For another card use --vram, for example --vram 16GiB.")


def _number(name: str) -> str:
    """The first number of two digits or more in a name: the model number."""
    found = re.search(r"\d{2,}", name)
    return found[0] if found else ""
