"""A model in memory: opened, described, closed."""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from llama_cpp import llama_cpp as lib

from ossctl.errors import MemoryShortage, ModelError
from ossctl.runtime.gguf import check_complete, read_header
from ossctl.runtime.log import llama_log
from ossctl.runtime.vocab import Vocabulary


@dataclass(frozen=True)
class ModelOptions:
    """How to place the weights. `n_gpu_layers` counts the output as a layer; negative is all."""

    n_gpu_layers: int = -1
    repack: bool = True  # a faster layout on the CPU, at the price of a second copy in RAM


class LlamaModel:
    """Weights and vocabulary of a GGUF file. Close it after every context made from it."""

    def __init__(
        self,
        path: Path,
        options: ModelOptions | None = None,
        keep_going: Callable[[], bool] = lambda: True,
    ) -> None:
        """Load `path`; `keep_going` is asked now and then and ends the load by returning False.

        Raises ModelError (missing, not GGUF, incomplete, unknown architecture, stopped) and
        MemoryShortage.
        """
        self._handle: object = None
        self.path = path
        self.header = read_header(path)
        check_complete(path, self.header)
        self._handle = _load(path, options or ModelOptions(), keep_going)
        self.vocab = Vocabulary(self._handle, str(self.header.metadata.get("tokenizer.ggml.pre", "")))
        self.n_vocab = self.vocab.size
        self.n_ctx_train: int = lib.llama_model_n_ctx_train(self._handle)
        self.window: int = lib.llama_model_n_swa(self._handle)
        self.recurrent = bool(
            lib.llama_model_is_recurrent(self._handle) or lib.llama_model_is_hybrid(self._handle)
        )
        if not lib.llama_model_has_decoder(self._handle) or lib.llama_model_has_encoder(self._handle):
            self.close()
            raise ModelError(f"{path} does not generate text", "ossctl runs decoder-only language models.")

    @property
    def handle(self) -> object:
        """The pointer for the C API. Raises ValueError after `close`."""
        if self._handle is None:
            raise ValueError("the model is closed")
        return self._handle

    @property
    def name(self) -> str:
        """What the file calls itself, else its file name."""
        return str(self.header.metadata.get("general.name") or self.path.stem)

    @functools.cached_property
    def chat_template(self) -> str | None:
        """The Jinja template in the model's metadata."""
        template = lib.llama_model_chat_template(self.handle, None)
        return template.decode("utf-8") if template else None

    def close(self) -> None:
        """Free the weights. A second call does nothing."""
        if self._handle is not None:
            lib.llama_model_free(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _load(path: Path, options: ModelOptions, keep_going: Callable[[], bool]) -> object:
    log = llama_log()
    log.clear()
    lib.llama_backend_init()
    params = lib.llama_model_default_params()
    params.n_gpu_layers = options.n_gpu_layers
    params.use_extra_bufts = options.repack
    progress = lib.llama_progress_callback(lambda _fraction, _data: keep_going())
    params.progress_callback = progress
    handle = lib.llama_model_load_from_file(os.fsencode(path), params)
    if handle:
        return handle
    reason = log.reason()
    if "alloc" in reason or "out of memory" in reason:
        raise MemoryShortage(f"{path.name} does not fit in memory: {reason}")
    raise ModelError(f"cannot load {path}: {reason or 'stopped'}", _hint(reason))


def _hint(reason: str) -> str:
    if "architecture" in reason:
        return "This version of llama.cpp does not know it; a newer llama-cpp-python may."
    return ""
