"""Where training begins: with a model that already looks back.

From chance, copying is not found in a thousand steps: with gpt-oss's slow rotary angles a head hardly tells
the token before from its neighbours, and only after that can another learn what followed the same token
earlier. So the first layer starts with heads that look at the tokens 1, 2, 3 and 4 places back, and the
second with heads that look for a token whose predecessors are those here; what they find, they pass on.
Training does with all of that as it likes.
"""

import torch
from torch import Tensor, nn

from tools.nano.model import NanoModel, rotary_speeds

_FAST = (
    0.04  # radians a place: pairs of dimensions that turn faster tell places apart, the others hold content
)
_SHARPNESS = 4.6  # of looking at one place: 97 % of a head's attention
_MATCH = 1.8  # of looking for a token
_REST, _TURNING = 0.3, 0.1  # how much of the usual start is left: of all queries and keys, of fast pairs
_ALOUD = 0.02  # of logits


@torch.no_grad()
def look_back(model: NanoModel) -> None:
    """Set the weights of a new model."""
    nn.init.normal_(model.embedding.weight)
    model.output.weight.copy_(_ALOUD * model.embedding.weight)
    shape, layers = model.shape, [layer.attention for layer in model.layers]
    size, groups = shape.head_dim, shape.heads // shape.kv_heads
    half = size // 2
    speeds = rotary_speeds(size)
    turning = int((speeds > _FAST).sum())
    fast = torch.tensor([*range(turning), *range(half, half + turning)])
    slow = torch.tensor([*range(turning, half), *range(half + turning, size)])
    for attention in layers:
        values = _orthogonal(shape.kv_heads * size, shape.hidden)
        attention.v.weight.copy_(values)
        per_head = values.unflatten(0, (shape.kv_heads, size)).repeat_interleave(groups, 0)
        attention.out.weight.copy_(_REST * per_head.flatten(0, 1).T)  # what is found is written as it is
        for linear, heads in ((attention.q, shape.heads), (attention.k, shape.kv_heads)):
            linear.weight.mul_(_REST).view(heads, size, -1)[:, fast] *= _TURNING

    first, second = layers[:2]
    written = _orthogonal(shape.hidden, shape.heads * size)
    first.out.weight.copy_(written)
    angles = speeds[:turning] * torch.arange(1, shape.heads + 1)[:, None]
    queries, keys = (linear.bias.view(-1, size) for linear in (first.q, first.k))
    queries[:, :turning] = _SHARPNESS * angles.cos()
    queries[:, half : half + turning] = -_SHARPNESS * angles.sin()
    keys[:, :turning] = _SHARPNESS

    here = first.v.weight[: len(slow)]  # how the first heads' value reads a token
    before = [part.T[: len(slow)] for part in written.split(size, 1)]  # as it was one, two, … places back
    wanted, offered = (linear.weight.view(-1, size, shape.hidden) for linear in (second.q, second.k))
    for head, sought in enumerate((here, before[0], before[0], here)):
        wanted[head, slow] = _MATCH * sought
    for head, found in enumerate(before[: shape.kv_heads]):
        offered[head, slow] = _MATCH * found
    second.out.weight.div_(_REST)


def _orthogonal(rows: int, columns: int) -> Tensor:
    return nn.init.orthogonal_(torch.empty(rows, columns))
