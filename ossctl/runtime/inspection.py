"""Questions about GGUF files beyond the header: tensor types, tokens, whether llama.cpp can run them."""

import ctypes
import functools
import os
import struct
import tempfile
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from ossctl.runtime.bindings import lib
from ossctl.runtime.ggml import function
from ossctl.runtime.gguf import MAGIC, opened
from ossctl.runtime.log import llama_log

_STRING = 8  # enum gguf_type, ggml/include/gguf.h
_VERSION = 3  # GGUF_VERSION, likewise
_TOKENS = b"tokenizer.ggml.tokens"


def bytes_by_type(path: Path) -> Counter[str]:
    """Bytes of all tensors of each type, by ggml's name (`MXFP4`, `Q8_0`). Raises ModelError."""
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    count = function("gguf_get_n_tensors", number, pointer)
    type_of = function("gguf_get_tensor_type", ctypes.c_int, pointer, number)
    size_of = function("gguf_get_tensor_size", ctypes.c_size_t, pointer, number)
    name_of = function("ggml_type_name", ctypes.c_char_p, ctypes.c_int)
    found: Counter[str] = Counter()
    with opened(path) as handle:
        for index in range(count(handle)):
            found[name_of(type_of(handle, index)).decode().upper()] += size_of(handle, index)
    return found


def has_tokens(path: Path, wanted: Collection[str]) -> bool:
    """Whether the vocabulary contains all of `wanted`, by their text. Raises ModelError."""
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    find = function("gguf_find_key", number, pointer, ctypes.c_char_p)
    length = function("gguf_get_arr_n", ctypes.c_size_t, pointer, number)
    text_of = function("gguf_get_arr_str", ctypes.c_char_p, pointer, number, ctypes.c_size_t)
    missing = {text.encode() for text in wanted}
    with opened(path) as handle:
        key = find(handle, _TOKENS)
        if key >= 0:
            for index in reversed(range(length(handle, key))):  # control tokens come last
                missing.discard(text_of(handle, key, index))
                if not missing:
                    return True
    return not missing


@functools.cache
def knows_architecture(name: str) -> bool:
    """Whether llama.cpp implements this `general.architecture`.

    It has no list of them, so this loads a file that contains only the architecture's name, and reads why
    that fails.
    """
    log = llama_log()
    log.clear()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "architecture.gguf"
        path.write_bytes(_file_of(name))
        params = lib.llama_model_default_params()
        params.vocab_only = True
        handle = lib.llama_model_load_from_file(os.fsencode(path), params)
    if handle:
        lib.llama_model_free(handle)
    return "unknown model architecture" not in log.reason()


def _file_of(architecture: str) -> bytes:
    """A GGUF without tensors whose only key is the architecture."""
    key, value = b"general.architecture", architecture.encode()
    header = MAGIC + struct.pack("<IQQ", _VERSION, 0, 1)
    return header + struct.pack("<Q", len(key)) + key + struct.pack("<IQ", _STRING, len(value)) + value
