"""What can be wrong with the library itself: told in two lines, with the command that builds it anew."""

import subprocess
import sys
from pathlib import Path

import pytest

from ossctl.errors import OssctlError
from ossctl.runtime.library import compiler, cpu_library
from ossctl.runtime.model import LlamaModel, ModelOptions
from tests.support.command import ossctl
from tests.support.models import smollm2


def test_another_release_of_the_bindings_is_refused_by_its_number(tmp_path: Path) -> None:
    info = tmp_path / "llama_cpp_python-0.4.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: 0.4.1\n")
    for command in (["doctor"], ["run", "-m", smollm2(), "Hello"]):
        result = ossctl(*command, cwd=tmp_path, PYTHONPATH=str(tmp_path))
        assert (result.code, result.stdout) == (1, "")
        assert result.said[0] == ("ossctl: llama-cpp-python 0.4.1 is installed, but ossctl needs 0.3.36")
        assert result.said[1].startswith("This builds it: ")


@pytest.mark.parametrize("content", [None, b"not a library"])
def test_a_library_that_cannot_be_loaded_is_told_with_the_way_out(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        for name in ("libllama.so", "libllama.dylib", "llama.dll"):
            (tmp_path / name).write_bytes(content)
    result = ossctl("run", "-m", smollm2(), "Hello", cwd=tmp_path, LLAMA_CPP_LIB_PATH=str(tmp_path))
    assert (result.code, result.stdout) == (1, "")
    first, second = result.said
    assert first.startswith("ossctl: cannot load llama.cpp's library: ")
    assert second.endswith("-m ossctl.build")


def test_a_device_that_has_gone_since_the_plan_is_named() -> None:
    with pytest.raises(OssctlError, match="there is no device CUDA7") as caught:
        LlamaModel(smollm2(), ModelOptions(-1, ("CUDA7",)))
    assert "ossctl doctor" in caught.value.hint


def test_a_library_names_its_compiler(tmp_path: Path) -> None:
    library = tmp_path / "libggml-cpu.so"
    library.write_bytes(b"\x7fELF...GCC: (Ubuntu 13.2.0-4ubuntu3) 13.2.0\0.symtab")
    assert compiler(library) == "GCC 13.2.0"
    library.write_bytes(b"\x7fELF...Debian clang version 16.0.6 (15~deb12u1)\0")
    assert compiler(library) == "clang 16.0.6"
    library.write_bytes(b"MZ")
    assert compiler(library) == ""
    assert cpu_library().is_file()


def test_the_package_of_the_bindings_is_left_as_it_was_for_others() -> None:
    code = """
import sys
from ossctl.runtime.bindings import lib
assert not [name for name in sys.modules if name.startswith("llama_cpp")]
import llama_cpp
assert callable(llama_cpp.Llama)
print(lib.llama_supports_mmap(), llama_cpp.llama_supports_mmap())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True True\n"), done.stderr


def test_bindings_that_are_imported_already_are_used() -> None:
    code = "import llama_cpp; from ossctl.runtime.bindings import lib; print(lib is llama_cpp.llama_cpp)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
