"""Estimate generation speed from the bytes of weights that every token reads."""

from ossctl.planning.settings import Settings
from ossctl.planning.shape import ModelShape

_RAM_FACTOR = 10  # GPU memory is this much faster: 936 GB/s of an RTX 3090, 90 GB/s of dual-channel DDR5-5600


def generation_slowdown(shape: ModelShape, before: Settings, after: Settings) -> float:
    """The share of generation speed lost to more experts in RAM, with all layers on GPUs."""
    return 1 - _token_cost(shape, before) / _token_cost(shape, after)


def _token_cost(shape: ModelShape, settings: Settings) -> float:
    """Bytes that a token reads, with those in RAM weighted by its speed."""
    used = shape.n_expert_used / shape.n_expert
    in_ram = used * sum(shape.layers[number].expert_bytes for number in settings.experts_in_ram)
    return shape.active_bytes + (_RAM_FACTOR - 1) * in_ram
