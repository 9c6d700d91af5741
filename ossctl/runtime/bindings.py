"""llama.cpp's C API, as llama-cpp-python declares it: imported here, and from here by all others."""

from importlib.metadata import PackageNotFoundError, version

from ossctl.build import VERSION, rebuild_command
from ossctl.errors import OssctlError


def _check_version() -> None:
    """Raise OssctlError unless the bindings are of the release whose structures ours fit."""
    try:
        found = version("llama-cpp-python")
    except PackageNotFoundError:
        hint = f"This builds it: {rebuild_command()}"
        raise OssctlError("llama-cpp-python is not installed", hint) from None
    if found.partition("+")[0] != VERSION:
        raise OssctlError(
            f"llama-cpp-python {found} is installed, and ossctl works with {VERSION} only",
            f"This builds it: {rebuild_command()}",
        )


_check_version()
try:
    from llama_cpp import _ggml
    from llama_cpp import llama_cpp as lib
except (ImportError, OSError, RuntimeError, AttributeError) as error:  # it looks for a file, and loads that
    raise OssctlError(
        f"llama.cpp's library cannot be used: {error}", f"A new build: {rebuild_command()}"
    ) from None

__all__ = ["ggml", "lib"]
ggml = _ggml.libggml
