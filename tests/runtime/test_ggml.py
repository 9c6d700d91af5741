"""Functions are found where a library is searched alone, as Windows does, and not with what it depends on."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ossctl.runtime import ggml
from ossctl.runtime.bindings import lib

PACKAGE = Path(ggml.__file__).parents[1]
FOLDER = Path(lib._lib._name).parent
USED = {
    name
    for path in PACKAGE.rglob("*.py")
    for name in re.findall(r'function\(\s*"(\w+)"', path.read_text("utf-8"))
}

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("nm") is None, reason="reads the symbols of ELF files with nm"
)


def alone(path: Path) -> SimpleNamespace:
    """A library with its own functions only."""
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True
    ).stdout
    return SimpleNamespace(_name=str(path), **{line.split()[-1]: path.name for line in listed.splitlines()})


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("ggml-base", "ggml-cpu", "ggml-rpc"):
        if (library := FOLDER / f"lib{name}.so").exists():
            (tmp_path / f"{name}.dll").symlink_to(library)
    llama = alone(FOLDER / "libllama.so")
    llama._name = str(tmp_path / "llama.dll")
    monkeypatch.setattr(ggml, "lib", SimpleNamespace(_lib=llama))
    monkeypatch.setattr(ggml, "ggml", alone(FOLDER / "libggml.so"))
    monkeypatch.setattr(ggml, "os", SimpleNamespace(name="nt"))
    monkeypatch.setattr(ggml, "ctypes", SimpleNamespace(CDLL=lambda path: alone(Path(path))))
    ggml._library.cache_clear()
    yield
    ggml._library.cache_clear()


@pytest.mark.usefixtures("windows")
def test_every_function_is_found_in_a_library_of_its_own() -> None:
    assert len(USED) > 30
    assert {name for name in USED if not ggml.has_function(name)} <= {"ggml_backend_rpc_add_server"}
    assert ggml._library("gguf_init_from_file").gguf_init_from_file == "ggml-base.dll"
    assert ggml._library("ggml_graph_plan").ggml_graph_plan == "ggml-cpu.dll"
    assert ggml._library("ggml_backend_dev_count").ggml_backend_dev_count == "libggml.so"


def test_a_function_that_no_library_has_is_an_attribute_error() -> None:
    assert not ggml.has_function("ggml_of_the_future")
    with pytest.raises(AttributeError):
        ggml.function("ggml_of_the_future", None)
