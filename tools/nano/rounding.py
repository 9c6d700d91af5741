"""llama.cpp's roundings with a straight-through gradient: the model trains as it will be stored."""

import torch
from torch import Tensor

_BLOCK = 32
_VALUES = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])  # of E2M1, beside their negatives
_BETWEEN = (_VALUES[1:] + _VALUES[:-1]) / 2


def mxfp4(weight: Tensor) -> Tensor:
    """Blocks of 32 along the last axis: 4-bit values under a power of two."""
    with torch.no_grad():
        blocks = weight.detach().float().unflatten(-1, (-1, _BLOCK))
        largest = blocks.abs().amax(-1, keepdim=True)
        exponent = torch.where(largest > 0, torch.floor(torch.log2(largest)) - 2, -127.0)
        scale = torch.exp2(exponent)
        codes = torch.bucketize(blocks.abs() / scale, _BETWEEN)  # a tie takes the lower one
        rounded = (_VALUES[codes] * scale * blocks.sign()).flatten(-2)
    return weight + (rounded - weight).detach()


def q8_0(weight: Tensor) -> Tensor:
    """Blocks of 32 along the last axis: 8-bit integers under a half-precision scale."""
    with torch.no_grad():
        blocks = weight.detach().float().unflatten(-1, (-1, _BLOCK))
        scale = blocks.abs().amax(-1, keepdim=True) / 127
        codes = torch.where(scale > 0, torch.round(blocks / scale), 0.0)
        rounded = (codes * scale.half().float()).flatten(-2)
    return weight + (rounded - weight).detach()
