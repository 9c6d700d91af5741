"""Vectors of small embedding models, against llama.cpp asked for one input at a time."""

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from gguf import PoolingType

from ossctl.runtime.bindings import lib
from ossctl.runtime.embeddings import LlamaEmbedder, Vectors
from ossctl.runtime.model import LlamaModel
from tests.support.embedding_models import CONTEXT, bert, qwen3_embedding

TEXTS = ["the snow is white", "king of norway", "a", "what colour is the snow " * 9, "zebra"]
SAME = 0.9999  # cosine: flash attention rounds to half precision
KINDS = [
    (bert, PoolingType.MEAN),
    (bert, PoolingType.CLS),
    (qwen3_embedding, PoolingType.LAST),
    (qwen3_embedding, PoolingType.MEAN),
]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0].__name__} {kind[1].name}")
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaModel]:
    write: Callable[[Path, PoolingType], Path]
    write, pooling = request.param
    with LlamaModel(write(tmp_path_factory.mktemp("models") / "model.gguf", pooling)) as loaded:
        yield loaded


def oracle(model: LlamaModel, text: str) -> Vectors:
    """As llama.cpp's example `embedding` does it: a fresh context, tokenized with special tokens."""
    data = text.encode()
    tokens = (ctypes.c_int32 * (len(data) + 8))()
    vocab = lib.llama_model_get_vocab(model.handle)
    count = lib.llama_tokenize(vocab, data, len(data), tokens, len(tokens), True, False)
    params = lib.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = params.n_outputs_max = CONTEXT
    params.embeddings = True
    context = lib.llama_init_from_model(model.handle, params)
    try:
        assert lib.llama_decode(context, lib.llama_batch_get_one(tokens, count)) == 0
        found = lib.llama_get_embeddings_seq(context, 0)
        vector = np.ctypeslib.as_array(found, (lib.llama_model_n_embd(model.handle),)).copy()
    finally:
        lib.llama_free(context)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def embedded(embedder: LlamaEmbedder, *texts: str) -> Vectors:
    return embedder.embed([embedder.tokenize(text) for text in texts])


def test_inputs_decoded_together_have_llama_cpps_vectors(model: LlamaModel) -> None:
    with LlamaEmbedder(model, 512, CONTEXT) as embedder:
        vectors = embedded(embedder, *TEXTS)
    assert vectors.dtype == np.float32
    expected = np.stack([oracle(model, text) for text in TEXTS])
    cosines = vectors @ expected.T
    assert cosines.diagonal().min() > SAME
    assert cosines[~np.eye(len(TEXTS), dtype=bool)].max() < SAME  # the model tells texts apart


def test_an_input_longer_than_the_batch_has_llama_cpps_vector(model: LlamaModel) -> None:
    text = "the snow is white " * 20
    with LlamaEmbedder(model, 64, CONTEXT) as embedder:
        assert len(embedder.tokenize(text)) > 64
        for each in ("zebra", text, "zebra"):
            assert embedded(embedder, each)[0] @ oracle(model, each) > SAME


def test_text_cannot_forge_special_tokens(model: LlamaModel) -> None:
    with LlamaEmbedder(model, 64, CONTEXT) as embedder:
        plain = embedder.tokenize("a")
        special = {token for token in plain.tolist() if token in model.vocab.special_ids}
        for marker in ("[SEP]", "[CLS]", "<|endoftext|>"):
            tokens = embedder.tokenize(f"a {marker} a").tolist()
            assert sum(token in special for token in tokens) == sum(t in special for t in plain.tolist())


def test_too_much_is_refused_before_llama_cpp_aborts(model: LlamaModel) -> None:
    with LlamaEmbedder(model, 64, 40) as embedder:
        for sizes in ([41], [0], [1] * 65):
            with pytest.raises(ValueError, match="cannot embed"):
                embedder.embed([np.full(size, 5, np.int32) for size in sizes])
