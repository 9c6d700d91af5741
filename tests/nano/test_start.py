"""A new model looks back: it copies before it has learnt anything. Needs torch: `make nano-test`."""

import pytest

torch = pytest.importorskip("torch")

from tools.nano.model import NanoModel, Shape, yarn
from tools.nano.model import _rotate as rotate
from tools.nano.start import look_back


def new_model() -> NanoModel:
    torch.manual_seed(0)
    model = NanoModel(Shape(300))
    look_back(model)
    return model.eval()


def test_the_first_layer_looks_one_to_four_places_back() -> None:
    model = new_model()
    shape, attention = model.shape, model.layers[0].attention
    rotation = yarn(torch.arange(40)[None], shape.head_dim)
    queries, keys = (
        rotate(bias.view(1, 1, -1, shape.head_dim).expand(1, 40, -1, -1), rotation)
        for bias in (attention.q.bias, attention.k.bias)
    )
    keys = keys.repeat_interleave(shape.heads // shape.kv_heads, 2)
    scores = torch.einsum("bqhd,bkhd->bhqk", queries, keys)[0, :, 30, :31] / shape.head_dim**0.5
    weights = scores.softmax(-1)
    for head in range(4):
        assert weights[head, 30 - head - 1] > 0.9


def test_what_came_after_the_same_token_is_expected_again() -> None:
    model = new_model()
    tokens = torch.randperm(300)[:40].repeat(2)[None]
    length = tokens.shape[1]
    allowed = torch.ones(1, length, length, dtype=torch.bool).tril()
    with torch.no_grad():
        logits, _ = model(tokens, torch.arange(length)[None], allowed)
    later = logits[0, 40:-1]
    better = (later > later.gather(1, tokens[0, 41:, None])).sum(-1)
    assert better.float().median() < 50  # by chance 150
