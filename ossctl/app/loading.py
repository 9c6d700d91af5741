"""A model made ready to answer: weights, cache and dialect."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from ossctl.app.interrupt import Interrupt
from ossctl.dialect import Dialect
from ossctl.engine.grammar import JsonGrammars
from ossctl.errors import ModelError, UsageError
from ossctl.harmony.dialect import HarmonyDialect
from ossctl.harmony.markers import Markers
from ossctl.runtime.base import Runner
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel
from ossctl.templates.dialect import TemplateDialect

_log = logging.getLogger(__name__)

_DEFAULT_CTX = 4096


@dataclass(frozen=True)
class LoadOptions:
    """`ctx` tokens for each of `parallel` sequences; `threads` 0 is all cores of this process.

    `ctx` None is 4,096, or what the model was trained with if that is less.
    """

    ctx: int | None = None
    parallel: int = 8
    threads: int = 0


@dataclass(frozen=True)
class LoadedModel:
    """What a command needs to ask a model. `piece` gives a token's bytes."""

    name: str
    runner: Runner
    dialect: Dialect
    piece: Callable[[int], bytes]


@contextmanager
def load_model(path: Path, options: LoadOptions, interrupt: Interrupt) -> Iterator[LoadedModel]:
    """Load the GGUF at `path` and free it at the end. Raises ModelError, MemoryShortage, Interrupted."""
    started = perf_counter()
    with _weights(path, interrupt) as model:
        dialect = _dialect(model)
        context = ContextOptions(
            n_ctx=_context_length(options.ctx, model),
            n_seq=options.parallel,
            n_threads=options.threads,
        )
        with LlamaRunner(model, context) as runner:
            seconds = perf_counter() - started
            _log.info(
                "loaded %s in %.1f s: %d x %d tokens", model.name, seconds, runner.n_seq, runner.n_ctx_seq
            )
            yield LoadedModel(model.name, runner, dialect, model.vocab.piece)


def _weights(path: Path, interrupt: Interrupt) -> LlamaModel:
    try:
        return LlamaModel(path, keep_going=lambda: interrupt.clear)
    except ModelError:
        interrupt.check("Nothing was started.")
        raise


def _context_length(wanted: int | None, model: LlamaModel) -> int:
    if wanted is None:
        return min(_DEFAULT_CTX, model.n_ctx_train)
    if wanted > model.n_ctx_train:
        raise UsageError(f"--ctx {wanted:,} is more than the {model.n_ctx_train:,} that {model.name} can use")
    return wanted


def _dialect(model: LlamaModel) -> Dialect:
    grammars = JsonGrammars(model.vocab)
    markers = Markers.of(model.vocab)
    if markers is not None:
        return HarmonyDialect(model.vocab, markers, grammars)
    if model.chat_template is None:
        raise ModelError(
            f"{model.path} has no chat template, so it cannot be asked in messages",
            "Use an instruction-tuned (chat) version of the model.",
        )
    return TemplateDialect(model.chat_template, model.vocab, grammars)
