"""llama.cpp's C API as llama-cpp-python declares it. All other modules take it from here."""

import importlib
import importlib.util
import sys
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from ossctl.build import VERSION, rebuild_command
from ossctl.errors import OssctlError

_PACKAGE = "llama_cpp"


def _check_version() -> None:
    """Raise OssctlError unless the bindings are of the release that our structures match."""
    try:
        found = version("llama-cpp-python")
    except PackageNotFoundError:
        raise OssctlError("llama-cpp-python is not installed", _hint()) from None
    if found.partition("+")[0] != VERSION:
        raise OssctlError(f"llama-cpp-python {found} is installed, but ossctl needs {VERSION}", _hint())


def _hint() -> str:
    return f"This builds it: {rebuild_command()}"


def _import() -> tuple[ModuleType, ModuleType]:
    """`llama_cpp.llama_cpp` and `llama_cpp._ggml`, without running the package's `__init__`.

    That imports a high-level interface which nothing here uses and which takes longer than loading a small
    model. A stand-in for the package exists only while the two modules are imported.
    """
    stands_in = not _imported()
    if stands_in:
        found = importlib.util.find_spec(_PACKAGE)
        if found is None:
            raise ImportError(f"there is no package {_PACKAGE}")
        sys.modules[_PACKAGE] = importlib.util.module_from_spec(found)
    try:
        return importlib.import_module(f"{_PACKAGE}.llama_cpp"), importlib.import_module(f"{_PACKAGE}._ggml")
    finally:
        for name in _imported() if stands_in else ():
            del sys.modules[name]


def _imported() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]


_check_version()
try:
    lib, _ggml = _import()
except (ImportError, OSError, RuntimeError, AttributeError) as error:  # raised where the library is loaded
    raise OssctlError(f"cannot load llama.cpp's library: {error}", _hint()) from None

ggml = _ggml.libggml
