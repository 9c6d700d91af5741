"""Find the C++ compiler, and the flags with which it generates correct code for this processor."""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ossctl.build.errors import BuildError

# Tests for C++17, and for correct code where llama.cpp configures AMX tiles (ggml/src/ggml-cpu/amx/mmq.cpp).
# GCC 11.3 and 12.2 assume that _tile_loadconfig reads only 8 of the 64 bytes and drop the other stores, so
# the first tile instruction kills the process (llama.cpp's pull request 26954). clang 14 and 16 are not
# affected.
_PROGRAM = """
#include <cstdint>
#include <cstring>
#include <filesystem>
#ifdef __AMX_TILE__
#include <immintrin.h>
struct Config {
    uint8_t palette = 0, start_row = 0, reserved[14] = {0};
    uint16_t colsb[16] = {0};
    uint8_t rows[16] = {0};
};
static void configure() {
    static thread_local bool done = false;
    if (done) return;
    alignas(64) Config config = {};
    config.palette = 1;
    config.rows[0] = 8;
    config.colsb[0] = 64;
    _tile_loadconfig(&config);
    done = true;
}
int main() {
    configure();
    alignas(64) uint8_t stored[64];
    memset(stored, 0xff, sizeof stored);
    __asm__ volatile("sttilecfg %0" : "=m"(stored));
    return stored[48] == 8 && stored[16] == 64 ? 0 : 3;
}
#else
int main() { return std::filesystem::path("a").empty(); }
#endif
"""
_NO_AMX = ("-mno-amx-tile", "-mno-amx-int8", "-mno-amx-bf16")
_WORKAROUNDS = ((), ("-fno-tree-dse", "-fno-dse"), _NO_AMX)  # tried in this order
_NAMES = ("c++", "g++", "clang++")  # CMake's order, Modules/CMakeDetermineCXXCompiler.cmake
_INSTALL_HINT = (
    "Install g++ 11 or newer, or clang (Debian, Ubuntu: `apt install g++`; macOS: `xcode-select --install`)."
)


@dataclass(frozen=True)
class Compiler:
    """The first line of `--version`, and the flags that the compiler needs on this machine."""

    version: str
    flags: tuple[str, ...]


def find_compiler() -> Compiler:
    """Find the compiler that CMake will use. Raises BuildError if it is missing or cannot build llama.cpp."""
    if sys.platform == "win32":  # CMake has its own ways to find Visual Studio
        return Compiler("the compiler that CMake finds", ())
    given = shlex.split(os.environ.get("CXX", ""))  # may include options or a launcher, as for CMake
    names = given[:1] or _NAMES
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        missing = f"CXX={given[0]} not found" if given else "no C++ compiler found"
        raise BuildError(f"{missing}; it is needed to compile llama.cpp", _INSTALL_HINT)
    command = [path, *given[1:]]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    version = (done.stdout.splitlines() or [shlex.join(command)])[0]
    return Compiler(" ".join([version, *given[1:]]), _flags(command, version))


def _flags(command: Sequence[str], version: str) -> tuple[str, ...]:
    """The first workaround with which the test program works."""
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "tiles.cpp")
        source.write_text(_PROGRAM, encoding="utf-8")
        for flags in _WORKAROUNDS:
            failure = _failure(command, flags, source)
            if not failure:
                return flags
            failures.append(failure)
    raise BuildError(f"{version} cannot compile llama.cpp: {failures[0]}", _INSTALL_HINT)


def _failure(command: Sequence[str], flags: Sequence[str], source: Path) -> str:
    """Why the test program fails with these flags; "" if it works."""
    program = source.with_suffix(".exe")
    native = ["-march=native"] if platform.machine() == "x86_64" else []  # GGML_NATIVE
    line = [*command, "-std=c++17", "-O3", *native, *flags, str(source), "-o", str(program)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        errors = (line for line in done.stderr.splitlines() if "error" in line)
        return next(errors, f"exit code {done.returncode}")
    code = subprocess.run([str(program)], capture_output=True, check=False).returncode  # noqa: S603
    return f"a test program exited with code {code}" if code else ""
