"""gpt-oss's architecture in PyTorch, small, as llama.cpp computes it.

Shapes: B packs of L tokens, H hidden units, E experts of F units, N query heads of D.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tools.nano.rounding import mxfp4, q8_0

_LIMIT, _ALPHA = 7.0, 1.702  # of SwiGLU in gpt-oss
_ORIGINAL_CONTEXT, _FACTOR, _THETA = 4096, 32.0, 150_000.0  # of YaRN in the released models
_BETA_FAST, _BETA_SLOW = 32.0, 1.0
_BLOCK = 128  # queries that attend together

_FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_FUSED_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True)
class Shape:
    vocabulary: int
    layers: int = 4
    hidden: int = 256
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    experts: int = 8
    used: int = 4
    width: int = 96
    window: int = 128
    context: int = 131_072


class Norm(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, 1e-5)


class Attention(nn.Module):
    """Grouped heads, a learnt sink a head, and a window in every other layer."""

    def __init__(self, shape: Shape, *, windowed: bool) -> None:
        super().__init__()
        self.shape, self.windowed = shape, windowed
        self.q = nn.Linear(shape.hidden, shape.heads * shape.head_dim)
        self.k = nn.Linear(shape.hidden, shape.kv_heads * shape.head_dim)
        self.v = nn.Linear(shape.hidden, shape.kv_heads * shape.head_dim)
        self.out = nn.Linear(shape.heads * shape.head_dim, shape.hidden)
        self.sinks = nn.Parameter(torch.zeros(shape.heads))

    def forward(self, x: Tensor, rotation: Tensor, masks: tuple[Tensor, Tensor], quantise: bool) -> Tensor:
        shape = self.shape
        b, length, _ = x.shape
        groups = shape.heads // shape.kv_heads
        q = _linear(self.q, x, quantise).view(b, length, shape.heads, shape.head_dim)
        k = _linear(self.k, x, quantise).view(b, length, shape.kv_heads, shape.head_dim)
        v = _linear(self.v, x, quantise).view(b, length, shape.kv_heads, shape.head_dim)
        q, k = _rotate(q, rotation).transpose(1, 2), _rotate(k, rotation)
        k, v = (t.repeat_interleave(groups, dim=2).transpose(1, 2) for t in (k, v))
        mixed = SinkAttention.apply(q, k, v, self.sinks, masks[self.windowed])
        return _linear(self.out, mixed.transpose(1, 2).reshape(b, length, -1), quantise)


class Experts(nn.Module):
    """All experts are computed, as two large products; those that were not chosen weigh nothing."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        e, h, f = shape.experts, shape.hidden, shape.width
        self.router = nn.Linear(h, e)
        self.gate = nn.Parameter(torch.randn(e, f, h) / math.sqrt(h))
        self.up = nn.Parameter(torch.randn(e, f, h) / math.sqrt(h))
        self.down = nn.Parameter(torch.randn(e, h, f) / math.sqrt(f))
        self.gate_bias = nn.Parameter(torch.zeros(e, f))
        self.up_bias = nn.Parameter(torch.zeros(e, f))
        self.down_bias = nn.Parameter(torch.zeros(e, h))

    def forward(self, x: Tensor, quantise: bool) -> tuple[Tensor, Tensor]:
        e, f, h = self.gate.shape
        scores = self.router(x)
        best, chosen = scores.topk(self.shape.used, dim=-1)
        weights = torch.zeros_like(scores).scatter(-1, chosen, best.softmax(dim=-1))
        share = scores.softmax(dim=-1).flatten(0, -2).mean(0)
        load = (weights > 0).float().flatten(0, -2).mean(0)
        balance = e * (share * load).sum() / self.shape.used
        gate_w, up_w, down_w = ((mxfp4(w) if quantise else w) for w in (self.gate, self.up, self.down))
        gate = F.linear(x, gate_w.reshape(e * f, h), self.gate_bias.flatten()).clamp(max=_LIMIT)
        up = F.linear(x, up_w.reshape(e * f, h), self.up_bias.flatten()).clamp(-_LIMIT, _LIMIT)
        inner = gate * torch.sigmoid(_ALPHA * gate) * (up + 1)
        inner = inner.unflatten(-1, (e, f)) * weights.unsqueeze(-1)
        out = F.linear(inner.flatten(-2), down_w.permute(1, 0, 2).reshape(h, e * f))
        return out + weights @ self.down_bias, balance


class Layer(nn.Module):
    def __init__(self, shape: Shape, *, windowed: bool) -> None:
        super().__init__()
        self.attention_norm, self.experts_norm = Norm(shape.hidden), Norm(shape.hidden)
        self.attention = Attention(shape, windowed=windowed)
        self.experts = Experts(shape)

    def forward(
        self,
        x: Tensor,
        rotation: Tensor,
        masks: tuple[Tensor, Tensor],
        quantise: bool,
        places: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        x = x + self.attention(self.attention_norm(x), rotation, masks, quantise)
        if places is not None:
            x = x.flatten(0, 1)[places]
        out, balance = self.experts(self.experts_norm(x), quantise)
        return x + out, balance


class NanoModel(nn.Module):
    """`tokens`, `positions` int64 [B, L]; `allowed` bool [B, L, L] says who may see whom.

    Returns logits [B, L, vocabulary] and how unevenly the experts were used (1 is even); with `places`,
    int64 [K] in the flattened [B·L], the logits [K, vocabulary] of these.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape, windowed=n % 2 == 0) for n in range(shape.layers))
        self.norm = Norm(shape.hidden)
        self.output = nn.Linear(shape.hidden, shape.vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if name.endswith(("q.bias", "k.bias", "v.bias", "out.bias", "router.bias")):
                nn.init.zeros_(parameter)
        for layer in self.layers:
            layer.experts.down.data.mul_(1 / math.sqrt(2 * shape.layers))

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        allowed: Tensor,
        quantise: bool = False,
        places: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        near = (positions[:, :, None] - positions[:, None, :]) < self.shape.window
        masks = (_as_mask(allowed), _as_mask(allowed & near))
        rotation = yarn(positions, self.shape.head_dim)
        table = q8_0(self.embedding.weight) if quantise else self.embedding.weight
        x = F.embedding(tokens, table)
        balance = x.new_zeros(())
        for layer in self.layers:
            x, uneven = layer(x, rotation, masks, quantise, places if layer is self.layers[-1] else None)
            balance = balance + uneven / len(self.layers)
        return _linear(self.output, self.norm(x), quantise), balance


def yarn(positions: Tensor, head_dim: int) -> Tensor:
    """Cosines and sines [B, L, 2, D/2], as ggml computes them (corners of the ramp are rounded)."""
    half = head_dim // 2

    def corner(beta: float) -> float:
        return head_dim * math.log(_ORIGINAL_CONTEXT / (beta * 2 * math.pi)) / (2 * math.log(_THETA))

    low, high = max(0, math.floor(corner(_BETA_FAST))), min(head_dim - 1, math.ceil(corner(_BETA_SLOW)))
    index = torch.arange(half, dtype=torch.float32)
    ramp = 1 - ((index - low) / max(0.001, high - low)).clamp(0, 1)
    plain = rotary_speeds(head_dim)
    angles = positions.float().unsqueeze(-1) * (plain / _FACTOR * (1 - ramp) + plain * ramp)
    scale = 1 + 0.1 * math.log(_FACTOR)
    return torch.stack((angles.cos(), angles.sin()), dim=-2) * scale


def rotary_speeds(head_dim: int) -> Tensor:
    """Radians a position, of each pair of a head's dimensions."""
    return _THETA ** (-2 * torch.arange(head_dim // 2, dtype=torch.float32) / head_dim)


def _rotate(x: Tensor, rotation: Tensor) -> Tensor:
    cos, sin = (part.unsqueeze(2) for part in rotation.unbind(dim=2))
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class SinkAttention(torch.autograd.Function):
    """Attention [B, N, L, D] by PyTorch's fused kernel, which knows no sinks but gives the softmax's sums.

    A sink adds to the sum and has no value, so it only scales what the kernel mixed; and the kernel's
    gradients are right when it is given the scaled result and the larger sum. Queries go in blocks, each with
    the keys up to its own: the kernel would not skip the others.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor, mask: Tensor) -> Tensor:
        blocks = [
            _FUSED(q[:, :, first:last], k[:, :, :last], v[:, :, :last], attn_mask=part, scale=_scale(q))
            for first, last, part in _blocks(mask)
        ]
        total = torch.cat([sums for _, sums in blocks], dim=2)
        larger = torch.logaddexp(total, sinks.view(1, -1, 1))
        mixed = torch.cat([values for values, _ in blocks], dim=2) * (total - larger).exp().unsqueeze(-1)
        ctx.save_for_backward(q, k, v, sinks, mask, mixed, larger)
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        q, k, v, sinks, mask, mixed, larger = ctx.saved_tensors
        (of_mixed,) = gradients
        of_q, of_k, of_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for first, last, part in _blocks(mask):
            of_q[:, :, first:last], of_keys, of_values = _FUSED_BACKWARD(
                of_mixed[:, :, first:last],
                q[:, :, first:last],
                k[:, :, :last],
                v[:, :, :last],
                mixed[:, :, first:last],
                larger[:, :, first:last],
                0.0,
                False,
                attn_mask=part,
                scale=_scale(q),
            )
            of_k[:, :, :last] += of_keys
            of_v[:, :, :last] += of_values
        weights = (sinks.view(1, -1, 1) - larger).exp()
        of_sinks = -(weights * (of_mixed * mixed).sum(-1)).sum((0, 2))
        return of_q, of_k, of_v, of_sinks, None


def _blocks(mask: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """First and last query of a block, and its part of the mask [B, 1, L, L]."""
    length = mask.shape[-1]
    for first in range(0, length, _BLOCK):
        last = min(first + _BLOCK, length)
        yield first, last, mask[:, :, first:last, :last]


def _scale(q: Tensor) -> float:
    return 1 / math.sqrt(q.shape[-1])


def _linear(layer: nn.Linear, x: Tensor, quantise: bool) -> Tensor:
    return F.linear(x, q8_0(layer.weight) if quantise else layer.weight, layer.bias)


def _as_mask(allowed: Tensor) -> Tensor:
    return torch.zeros(allowed.shape).masked_fill(~allowed, -math.inf).unsqueeze(1)
