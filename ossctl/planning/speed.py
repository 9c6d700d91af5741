"""What a placement costs in speed: generation waits for the weights that every token reads."""

from ossctl.planning.settings import Settings
from ossctl.planning.shape import ModelShape

_SLOWER = 10  # a GPU's memory against RAM: an RTX 3090's 936 GB/s, two channels of DDR5-5600 90


def generation_lost(shape: ModelShape, before: Settings, after: Settings) -> float:
    """The share of its speed that generation loses to more experts in RAM, all layers being on GPUs."""
    return 1 - _reading(shape, before) / _reading(shape, after)


def _reading(shape: ModelShape, settings: Settings) -> float:
    """Bytes that a token reads, those in RAM as many times as they take longer."""
    share = shape.n_expert_used / shape.n_expert
    in_ram = share * sum(shape.layers[number].expert_bytes for number in settings.experts_in_ram)
    return shape.active_bytes + (_SLOWER - 1) * in_ram
