"""Reads the headers of GGUF files with ggml: metadata and tensors, no weights."""

import ctypes
import functools
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ossctl.errors import ModelError
from ossctl.runtime.ggml import function
from ossctl.runtime.log import llama_log

MAGIC = b"GGUF"
_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_int64
_SHORT_ARRAY = 4096  # values: more than any model has layers, less than a vocabulary has tokens
_SPLIT_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")

# enum gguf_type, ggml/include/gguf.h
_ARRAY, _STRING = 9, 8
_SCALARS: dict[int, tuple[str, Any]] = {
    0: ("u8", ctypes.c_uint8),
    1: ("i8", ctypes.c_int8),
    2: ("u16", ctypes.c_uint16),
    3: ("i16", ctypes.c_int16),
    4: ("u32", ctypes.c_uint32),
    5: ("i32", ctypes.c_int32),
    6: ("f32", ctypes.c_float),
    7: ("bool", ctypes.c_bool),
    10: ("u64", ctypes.c_uint64),
    11: ("i64", ctypes.c_int64),
    12: ("f64", ctypes.c_double),
}

Scalar = int | float | bool | str


@dataclass(frozen=True)
class Tensor:
    """A tensor; `offset` is in bytes from the start of the file."""

    name: str
    offset: int
    n_bytes: int


@dataclass(frozen=True)
class GgufHeader:
    """Scalars and strings, short arrays of numbers, the lengths of all arrays, and all tensors."""

    metadata: dict[str, Scalar]
    arrays: dict[str, tuple[int | float, ...]]
    array_lengths: dict[str, int]
    tensors: tuple[Tensor, ...]

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    @property
    def pooling(self) -> int:
        """How the vectors of tokens become one vector (enum llama_pooling_type); 0 if they do not."""
        value = self.metadata.get(f"{self.architecture}.pooling_type", 0)
        return value if isinstance(value, int) else 0

    @property
    def n_bytes(self) -> int:
        """Minimum size of a complete file."""
        return max((tensor.offset + tensor.n_bytes for tensor in self.tensors), default=0)


class _InitParams(ctypes.Structure):
    """struct gguf_init_params"""

    _fields_ = [("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p)]


_HEADER_ONLY = _InitParams(no_alloc=True, ctx=None)


def check_file(path: Path) -> None:
    """Raise ModelError unless `path` is a file that starts like a GGUF."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
    except FileNotFoundError:
        raise ModelError(f"no model file at {path}", "Check the path.") from None
    except OSError as error:
        if path.is_dir():  # Windows only denies permission
            hint = "Give the path of a .gguf file in it."
            raise ModelError(f"{path} is a directory, not a model file", hint) from None
        raise ModelError(f"cannot read {path}: {error.strerror}") from None
    if magic != MAGIC:
        raise ModelError(f"{path} is not a GGUF file", "ossctl runs models in llama.cpp's GGUF format.")


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A gguf_context of the header of `path`.

    Raises ModelError if the file is missing, not GGUF, or ends before its header does.
    """
    check_file(path)
    log = llama_log()
    log.clear()
    handle = function("gguf_init_from_file", ctypes.c_void_p, ctypes.c_char_p, _InitParams)(
        os.fsencode(path), _HEADER_ONLY
    )
    if not handle:
        reason = log.reason() or "its header cannot be read"
        raise ModelError(f"{path} is damaged: {reason}", "Download it again; it seems to be truncated.")
    with _freed(handle):
        yield handle


@contextmanager
def _freed(handle: int) -> Iterator[None]:
    try:
        yield
    finally:
        function("gguf_free", None, ctypes.c_void_p)(handle)


def read_header(path: Path) -> GgufHeader:
    """Read the header of `path`, in milliseconds for any size of file. Raises ModelError as `opened` does.

    It is read again only if the file has changed: a vocabulary of 200,000 tokens takes 40 ms.
    """
    check_file(path)
    state = path.stat()
    return _header(path, state.st_mtime_ns, state.st_size, state.st_ino)


@functools.lru_cache(maxsize=16)
def _header(path: Path, *_state: int) -> GgufHeader:
    with opened(path) as handle:
        return _read(handle)


def vocabulary_digest(path: Path) -> str:
    """A hash of all tokens in the header of `path`, the same for all quantisations of a model.

    Raises ModelError as `opened` does.
    """
    digest = hashlib.sha256()
    for token in tokens_in(path):
        digest.update(token + b"\0")
    return digest.hexdigest()


def tokens_in(path: Path) -> Iterator[bytes]:
    """The text of each token in the header of `path`. Raises ModelError as `opened` does."""
    find = function("gguf_find_key", _NUMBER, _POINTER, ctypes.c_char_p)
    token_at = function("gguf_get_arr_str", ctypes.c_char_p, _POINTER, _NUMBER, ctypes.c_size_t)
    with opened(path) as handle:
        index = find(handle, b"tokenizer.ggml.tokens")
        for token in range(_length(handle, index) if index >= 0 else 0):
            yield token_at(handle, index, token)


def read_header_start(data: bytes) -> GgufHeader | None:
    """The header in the first bytes of a file; None if it is longer than `data`. Raises ModelError."""
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise ModelError("not a GGUF file", "ossctl runs models in llama.cpp's GGUF format.")
    llama_log()  # keeps ggml's error for an incomplete header off the terminal
    init = function("gguf_init_from_buffer", ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, _InitParams)
    handle = init(data, len(data), _HEADER_ONLY)
    if not handle:
        return None
    with _freed(handle):
        return _read(handle)


def split_files(path: Path, header: GgufHeader) -> tuple[Path, ...]:
    """All files of the model whose first part is `path`. Raises ModelError if it is a later part."""
    count = header.metadata.get("split.count", 1)
    if count in (0, 1):
        return (path,)
    found = _SPLIT_NAME.fullmatch(path.name)
    if found is None or int(found[2]) != 1 or int(found[3]) != count:
        raise ModelError(f"{path} is not the first of {count} parts", "Give the path of the first part.")
    n_parts = int(found[3])
    return tuple(path.with_name(f"{found[1]}-{n:05d}-of-{n_parts:05d}.gguf") for n in range(1, n_parts + 1))


def check_complete(path: Path, header: GgufHeader) -> None:
    """Raise ModelError if the file is shorter than its header requires."""
    size = path.stat().st_size
    if size < header.n_bytes:
        raise ModelError(
            f"{path} is incomplete: {size:,} of {header.n_bytes:,} bytes",
            "Download it again; it seems to be truncated.",
        )


def _numbers(handle: int, index: int) -> tuple[int | float, ...]:
    """The values of an array; () for an array of strings."""
    kind = function("gguf_get_arr_type", ctypes.c_int, _POINTER, _NUMBER)(handle, index)
    length = _length(handle, index)
    if kind not in _SCALARS or not length:
        return ()
    data = function("gguf_get_arr_data", _POINTER, _POINTER, _NUMBER)(handle, index)
    return tuple((_SCALARS[kind][1] * length).from_address(data))


def _read(handle: int) -> GgufHeader:
    metadata, arrays, lengths = _metadata(handle)
    return GgufHeader(metadata, arrays, lengths, tuple(_tensors(handle)))


def _metadata(
    handle: int,
) -> tuple[dict[str, Scalar], dict[str, tuple[int | float, ...]], dict[str, int]]:
    key_of = function("gguf_get_key", ctypes.c_char_p, _POINTER, _NUMBER)
    kind_of = function("gguf_get_kv_type", ctypes.c_int, _POINTER, _NUMBER)
    string_of = function("gguf_get_val_str", ctypes.c_char_p, _POINTER, _NUMBER)
    metadata: dict[str, Scalar] = {}
    arrays: dict[str, tuple[int | float, ...]] = {}
    lengths: dict[str, int] = {}
    for index in range(function("gguf_get_n_kv", _NUMBER, _POINTER)(handle)):
        key = key_of(handle, index).decode("utf-8", "replace")
        kind = kind_of(handle, index)
        if kind == _ARRAY:
            lengths[key] = _length(handle, index)
            if lengths[key] <= _SHORT_ARRAY:
                arrays[key] = _numbers(handle, index)
        elif kind == _STRING:
            metadata[key] = string_of(handle, index).decode("utf-8", "replace")
        else:
            name, type_ = _SCALARS[kind]
            metadata[key] = function(f"gguf_get_val_{name}", type_, _POINTER, _NUMBER)(handle, index)
    return metadata, arrays, lengths


def _length(handle: int, index: int) -> int:
    return int(function("gguf_get_arr_n", ctypes.c_size_t, _POINTER, _NUMBER)(handle, index))


def _tensors(handle: int) -> Iterator[Tensor]:
    name_of = function("gguf_get_tensor_name", ctypes.c_char_p, _POINTER, _NUMBER)
    offset_of = function("gguf_get_tensor_offset", ctypes.c_size_t, _POINTER, _NUMBER)
    size_of = function("gguf_get_tensor_size", ctypes.c_size_t, _POINTER, _NUMBER)
    data = function("gguf_get_data_offset", ctypes.c_size_t, _POINTER)(handle)
    for index in range(function("gguf_get_n_tensors", _NUMBER, _POINTER)(handle)):
        name = name_of(handle, index).decode("utf-8", "replace")
        yield Tensor(name, data + offset_of(handle, index), size_of(handle, index))
