"""A model made ready to answer: weights, cache and dialect."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ossctl.app.interrupt import Interrupt
from ossctl.dialect import Dialect
from ossctl.errors import ModelError
from ossctl.runtime.base import Runner
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel
from ossctl.templates.dialect import TemplateDialect

_HARMONY_MARKERS = {"<|start|>", "<|channel|>", "<|message|>"}


@dataclass(frozen=True)
class LoadOptions:
    """`ctx` tokens for each of `parallel` sequences; `threads` 0 is all cores of this process."""

    ctx: int = 4096
    parallel: int = 8
    threads: int = 0


@dataclass(frozen=True)
class LoadedModel:
    """What a command needs to ask a model. `piece` gives a token's bytes."""

    name: str
    runner: Runner
    dialect: Dialect
    end_ids: frozenset[int]
    piece: Callable[[int], bytes]


@contextmanager
def load_model(path: Path, options: LoadOptions, interrupt: Interrupt) -> Iterator[LoadedModel]:
    """Load the GGUF at `path` and free it at the end. Raises ModelError, MemoryShortage, Interrupted."""
    with _weights(path, interrupt) as model:
        dialect = _dialect(model)
        context = ContextOptions(
            n_ctx=min(options.ctx, model.n_ctx_train),
            n_seq=options.parallel,
            n_threads=options.threads,
        )
        with LlamaRunner(model, context) as runner:
            yield LoadedModel(model.name, runner, dialect, model.vocab.end_ids, model.vocab.piece)


def _weights(path: Path, interrupt: Interrupt) -> LlamaModel:
    try:
        return LlamaModel(path, keep_going=lambda: interrupt.clear)
    except ModelError:
        interrupt.check("Nothing was started.")
        raise


def _dialect(model: LlamaModel) -> Dialect:
    if model.vocab.special_texts.issuperset(_HARMONY_MARKERS):
        raise ModelError(
            f"{model.path} speaks Harmony, which this version of ossctl cannot yet",
            "Use a model with a chat template of another kind.",
        )
    if model.chat_template is None:
        raise ModelError(
            f"{model.path} has no chat template, so it cannot be asked in messages",
            "Use an instruction-tuned (chat) version of the model.",
        )
    return TemplateDialect(model.chat_template, model.vocab)
