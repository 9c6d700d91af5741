"""The model that is trained is the one that llama.cpp runs. Needs torch: `make nano-test`."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch")

from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize

import ossctl
from ossctl.runtime.model import LlamaModel
from tools.nano.corpus import families, samples
from tools.nano.export import export, restore
from tools.nano.model import NanoModel, Shape, SinkAttention
from tools.nano.packing import Packer
from tools.nano.rounding import mxfp4, q8_0
from tools.nano.tokenizer import NanoTokenizer
from tools.nano.train import visible
from tools.nano.vocabulary import vocabulary

_NANO = Path(ossctl.__file__).parent / "data" / "nano.gguf"
_SMALL = {"layers": 2, "hidden": 64, "heads": 2, "kv_heads": 1, "experts": 4, "used": 2, "width": 64}


@pytest.fixture(scope="module")
def tokenizer() -> NanoTokenizer:
    return vocabulary()


def random_model(tokenizer: NanoTokenizer) -> NanoModel:
    torch.manual_seed(0)
    model = NanoModel(Shape(tokenizer.size, **_SMALL))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


def logits_alone(
    model: NanoModel, tokens: list[int], positions: list[int] | None = None, *, quantise: bool = False
) -> npt.NDArray[np.float32]:
    """The model's logits [L, vocabulary] for one conversation."""
    ids = torch.tensor([tokens])
    length = ids.shape[1]
    places = torch.tensor([positions or range(length)])
    allowed = torch.ones(1, length, length, dtype=torch.bool).tril()
    with torch.no_grad():
        logits, _ = model(ids, places, allowed, quantise)
    found: npt.NDArray[np.float32] = logits[0].numpy()
    return found


@pytest.mark.parametrize("kind", [GGMLQuantizationType.MXFP4, GGMLQuantizationType.Q8_0])
def test_weights_are_rounded_as_they_are_stored(kind: GGMLQuantizationType) -> None:
    weight = torch.randn(64, 96) * torch.logspace(-3, 2, 64)[:, None]
    stored = dequantize(quantize(weight.numpy(), kind), kind)
    rounded = {GGMLQuantizationType.MXFP4: mxfp4, GGMLQuantizationType.Q8_0: q8_0}[kind](weight)
    assert np.array_equal(rounded.numpy(), stored)


def test_attention_and_its_gradients_are_those_of_a_softmax_with_a_sink() -> None:
    """More than one block of queries, and a mask that differs from row to row."""
    torch.manual_seed(0)
    batch, heads, length, size = 2, 2, 300, 32
    segments = torch.randint(0, 4, (batch, length)).sort(-1).values
    same = segments[:, :, None] == segments[:, None, :]
    mask = torch.zeros(batch, length, length).masked_fill(~(same & torch.ones_like(same).tril()), -torch.inf)
    q, k, v = (torch.randn(batch, length, heads, size).transpose(1, 2).requires_grad_() for _ in range(3))
    sinks = torch.randn(heads, requires_grad=True)

    def plain() -> Any:
        scores = q @ k.mT / size**0.5 + mask.unsqueeze(1)
        sink = sinks.view(1, heads, 1, 1).expand(batch, heads, length, 1)
        return torch.cat((scores, sink), -1).softmax(-1)[..., :-1] @ v

    wanted, found = plain(), SinkAttention.apply(q, k, v, sinks, mask.unsqueeze(1))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    direction = torch.randn_like(wanted)
    inputs = (q, k, v, sinks)
    for mine, theirs in zip(
        torch.autograd.grad(found, inputs, direction),
        torch.autograd.grad(wanted, inputs, direction),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-3)


def test_a_packed_sample_gets_the_logits_that_it_gets_alone(tokenizer: NanoTokenizer) -> None:
    model = random_model(tokenizer)
    rows = Packer(tokenizer, 512, 3).pack(families(3))
    row = next(row for row in rows if row[3].max() > 0 and row[2].max() > 4)  # a developer message
    tokens, positions, segments, parents, _ = torch.from_numpy(row.astype(np.int64)).unsqueeze(1)
    with torch.no_grad():
        packed, _ = model(tokens, positions, visible(segments, parents))
    compared = 0
    for segment in range(1, int(segments.max()) + 1):
        own = segments[0] == segment
        parent = int(parents[0][own][0])
        seen = (segments[0] == 0) | own | ((segments[0] == parent) if parent else False)
        alone = logits_alone(model, tokens[0][seen].tolist(), positions[0][seen].tolist())
        assert np.allclose(alone[-int(own.sum()) :], packed[0][own].numpy(), atol=1e-4)
        compared += 1
    assert compared > 2


@pytest.mark.parametrize("which", ["random", "nano"])
def test_llama_cpp_gives_the_same_logits(which: str, tokenizer: NanoTokenizer, tmp_path: Path) -> None:
    """On prompts of up to 400 tokens, beyond the window; weights rounded, stored as they were rounded."""
    if which == "nano" and not _NANO.exists():
        pytest.skip("nano is not made yet: make nano")
    model = random_model(tokenizer) if which == "random" else restore(_NANO)
    export(model, tokenizer, tmp_path / "plain.gguf", plain=True)
    packer = Packer(tokenizer, 512, 4)
    texts = [
        (packer.prompt(sample) + packer.answer(sample))[:400]
        for sample in itertools.islice(samples(4, held_out=True), 20)
    ]
    texts[0] = list(itertools.chain.from_iterable(texts))[:400]
    assert max(map(len, texts)) > 300
    with LlamaModel(tmp_path / "plain.gguf") as llama:
        for tokens in texts:
            ours = logits_alone(model, tokens, quantise=True)
            assert np.abs(ours - exact_logits(llama, tokens)).max() < 1e-2


def exact_logits(model: LlamaModel, tokens: list[int]) -> npt.NDArray[np.float32]:
    """llama.cpp's logits [L, vocabulary] with a single precision cache and without flash attention."""
    from ossctl.runtime.bindings import lib

    params = lib.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = 512
    params.type_k = params.type_v = lib.GGML_TYPE_F32
    params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = lib.llama_init_from_model(model.handle, params)
    batch = lib.llama_batch_init(512, 0, 1)
    try:
        batch.n_tokens = len(tokens)
        for n, token in enumerate(tokens):
            batch.token[n], batch.pos[n], batch.logits[n] = token, n, True
            batch.n_seq_id[n], batch.seq_id[n][0] = 1, 0
        assert lib.llama_decode(context, batch) == 0
        size = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model.handle))
        flat = np.ctypeslib.as_array(lib.llama_get_logits(context), (len(tokens) * size,))
        return flat.reshape(len(tokens), size).copy()
    finally:
        lib.llama_batch_free(batch)
        lib.llama_free(context)
