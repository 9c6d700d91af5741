"""A model in memory."""

import ctypes
import functools
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ossctl.errors import MemoryShortage, ModelError
from ossctl.runtime.bindings import lib
from ossctl.runtime.devices import find_device
from ossctl.runtime.ggml import function
from ossctl.runtime.gguf import check_complete, read_header
from ossctl.runtime.log import llama_log
from ossctl.runtime.vocab import Vocabulary
from ossctl.runtime.worker_watch import worker_watch


@dataclass(frozen=True)
class ModelOptions:
    """Where to place the weights.

    `n_gpu_layers` counts the output layer; a negative number offloads all. If `devices`, their names, is
    None, llama.cpp chooses. `device_layers` is the number of layers per device; if it is empty, llama.cpp
    splits them by free memory. `experts_in_ram` are the layers whose experts stay in RAM. `load_mode` is
    `mmap`, `none` (read into memory) or `auto`. `repack` uses the CPU's faster layout, which takes a second
    copy in RAM and is not possible with devices. With `only_reserve`, no weights are loaded and no memory is
    allocated, but contexts report the buffers that they would reserve.
    """

    n_gpu_layers: int = -1
    devices: tuple[str, ...] | None = None
    device_layers: tuple[int, ...] = ()
    experts_in_ram: tuple[int, ...] = ()
    load_mode: str = "auto"
    repack: bool = True
    only_reserve: bool = False

    @property
    def repacks(self) -> bool:
        """Whether weights in RAM are repacked.

        GPUs cannot copy repacked weights for large batches (op_offload), which needs plain host buffers.
        """
        return self.repack and not self.devices


# enum llama_load_mode, include/llama.h
_LOAD_MODES = {"auto": -1, "none": 0, "mmap": 1}


class _Override(ctypes.Structure):
    """struct llama_model_tensor_buft_override"""

    _fields_ = [("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p)]


class LlamaModel:
    """Weights and vocabulary of a GGUF file. Close it after all of its contexts."""

    def __init__(
        self,
        path: Path,
        options: ModelOptions | None = None,
        keep_going: Callable[[], bool] = lambda: True,
    ) -> None:
        """Load `path`. `keep_going` is called repeatedly, and stops the load by returning False.

        Raises ModelError (missing, not GGUF, incomplete, unknown architecture, stopped), MemoryShortage, and
        OssctlError for a missing device.
        """
        self._handle: object = None
        self.path = path
        self.header = read_header(path)
        check_complete(path, self.header)
        self._handle = _load(path, options or ModelOptions(), keep_going)
        self.buffers = llama_log().buffers()
        self.vocab = Vocabulary(self._handle, str(self.header.metadata.get("tokenizer.ggml.pre", "")))
        self.n_vocab = self.vocab.size
        self.n_ctx_train: int = lib.llama_model_n_ctx_train(self._handle)
        self.window: int = lib.llama_model_n_swa(self._handle)
        self.recurrent = bool(
            lib.llama_model_is_recurrent(self._handle) or lib.llama_model_is_hybrid(self._handle)
        )
        if not lib.llama_model_has_decoder(self._handle) or lib.llama_model_has_encoder(self._handle):
            self.close()
            raise ModelError(f"{path} does not generate text", "ossctl runs decoder-only models.")

    @property
    def handle(self) -> object:
        """The C API's pointer. Raises ValueError after `close`."""
        if self._handle is None:
            raise ValueError("the model is closed")
        return self._handle

    @property
    def name(self) -> str:
        """The name in the metadata, else that of the file."""
        return str(self.header.metadata.get("general.name") or self.path.stem)

    @functools.cached_property
    def chat_template(self) -> str | None:
        """The Jinja template in the model's metadata."""
        template = lib.llama_model_chat_template(self.handle, None)
        return template.decode("utf-8", "replace") if template else None

    def close(self) -> None:
        """Free the weights. Calling it again does nothing."""
        if self._handle is not None:
            with worker_watch():
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
    params, _alive = _params(options)
    watch = worker_watch()

    def proceed(_fraction: float, _data: object) -> bool:
        watch.note_progress()
        return keep_going()

    progress = lib.llama_progress_callback(proceed)
    params.progress_callback = progress
    with watch:
        handle = lib.llama_model_load_from_file(os.fsencode(path), params)
    if handle:
        return handle
    reason = log.reason()
    if "alloc" in reason or "out of memory" in reason:
        raise MemoryShortage(f"{path.name} does not fit in memory: {reason}")
    raise ModelError(f"cannot load {path}: {reason or 'stopped'}", _hint(reason))


def _params(options: ModelOptions) -> tuple[Any, list[Any]]:
    """llama.cpp's parameters, and the objects they point to, which must live as long as they do."""
    params = lib.llama_model_default_params()
    params.n_gpu_layers = options.n_gpu_layers
    params.use_extra_bufts = options.repacks
    params.no_alloc = options.only_reserve
    params.load_mode = _LOAD_MODES["none" if options.only_reserve else options.load_mode]
    alive: list[Any] = []
    if options.devices is not None:
        found = [find_device(name) for name in options.devices]
        devices = (ctypes.c_void_p * (len(found) + 1))(*found, None)
        params.devices = ctypes.cast(devices, ctypes.c_void_p)
        alive.append(devices)
    if len(options.device_layers) > 1:
        split = (ctypes.c_float * max(lib.llama_max_devices(), len(options.device_layers)))(
            *options.device_layers
        )
        params.tensor_split = split
        alive.append(split)
    if options.experts_in_ram:
        pattern = experts_pattern(options.experts_in_ram).encode()
        cpu = function("ggml_backend_cpu_buffer_type", ctypes.c_void_p)()
        overrides = (_Override * 2)(_Override(pattern, cpu), _Override(None, None))
        params.tensor_buft_overrides = ctypes.cast(overrides, ctypes.c_void_p)
        alive += [pattern, overrides]
    return params, alive


def experts_pattern(layers: Iterable[int]) -> str:
    """A regular expression for the names of these layers' expert tensors."""
    return rf"blk\.({'|'.join(map(str, layers))})\.ffn_(up|down|gate|gate_up)_exps"


def _hint(reason: str) -> str:
    if "architecture" in reason:
        return "This release of llama.cpp does not know it; a later one may."
    return ""
