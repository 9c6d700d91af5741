"""Loading an embedding model. There is no plan: it is small, and goes to the GPUs if there are any."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.placement.kernel_trial import current_trial
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.placement.machine import this_machine
from ossctl.app.placement.shapes import shape_of_file
from ossctl.errors import ModelError
from ossctl.runtime.embeddings import LlamaEmbedder
from ossctl.runtime.gguf import read_header
from ossctl.runtime.model import LlamaModel, ModelOptions

_NONE, _RANK = 0, 4  # enum llama_pooling_type, include/llama.h
# Architectures that cannot generate (llama_model::create_memory, src/llama-model.cpp).
_ENCODERS = frozenset({
    "bert", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3", "modern-bert", "neo-bert",
    "nomic-bert", "nomic-bert-moe",
})  # fmt: skip
_CPU_BATCH, _GPU_BATCH = 512, 2048  # tokens of several inputs


@dataclass(frozen=True)
class LoadedEmbedder:
    """An embedding model ready for inputs. `piece` and `remarks` are as in `LoadedModel`."""

    name: str
    embedder: LlamaEmbedder
    piece: Callable[[int], bytes]
    remarks: tuple[str, ...] = ()


def is_embedding_model(path: Path) -> bool:
    """Whether the GGUF at `path` makes vectors instead of text. Raises ModelError."""
    header = read_header(path)
    return header.pooling != _NONE or header.architecture in _ENCODERS


def refuse_embedding_model(path: Path) -> None:
    """Raise ModelError if the GGUF at `path` cannot generate text."""
    if is_embedding_model(path):
        hint = "Use it for the /v1/embeddings lines of `ossctl batch`, and another model here."
        raise ModelError(f"{path.name} is an embedding model and cannot generate text", hint)


@contextmanager
def load_embedder(path: Path, options: LoadOptions, interrupt: Interrupt) -> Iterator[LoadedEmbedder]:
    """Load the embedding model at `path`; free it on exit.

    Raises ModelError, MemoryShortage, UsageError, Interrupted.
    """
    _refuse_others(path)
    kernels = current_trial()
    machine = this_machine(kernels)
    overrides = options.overrides(shape_of_file(path))
    devices = overrides.devices
    if devices is None:
        devices = tuple(device.name for device in machine.devices)
    layers = -1 if overrides.gpu_layers is None else overrides.gpu_layers
    placement = ModelOptions(layers if devices else 0, devices, repack=machine.extra_kernels)
    try:
        model = LlamaModel(path, placement, keep_going=interrupt.keep_going)
    except ModelError:
        interrupt.check("Nothing was started.")
        raise
    n_batch = overrides.ubatch or (_GPU_BATCH if devices else _CPU_BATCH)
    max_tokens = min(overrides.ctx or model.n_ctx_train, model.n_ctx_train)
    remarks = [f"{gpu.message}: {gpu.fix}" for gpu in machine.unusable]
    remarks += filter(None, [kernels.remark])
    with model, LlamaEmbedder(model, n_batch, max_tokens, overrides.threads or 0) as embedder:
        yield LoadedEmbedder(model.name, embedder, model.vocab.piece, tuple(remarks))


def _refuse_others(path: Path) -> None:
    pooling = read_header(path).pooling
    if pooling == _RANK:
        raise ModelError(f"{path.name} is a reranker, which scores pairs of texts", "Use an embedding model.")
    if pooling == _NONE:
        raise ModelError(
            f"{path.name} does not say how to make one vector of a text (pooling_type)",
            "Use a newer GGUF of the model.",
        )
