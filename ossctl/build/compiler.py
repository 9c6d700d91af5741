"""The C++ compiler, and the flags with which it makes right code for this processor."""

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

# C++17 as llama.cpp uses it, and its way of configuring AMX tiles (ggml/src/ggml-cpu/amx/mmq.cpp). GCC 11.3
# and 12.2 take it that _tile_loadconfig reads 8 bytes of the 64 and drop the other stores; the first tile
# instruction then kills the process. clang 14 and 16 do not. llama.cpp's pull request 26954 is about it.
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
_REMEDIES = ((), ("-fno-tree-dse", "-fno-dse"), _NO_AMX)  # the first with which the program is right
_NAMES = ("c++", "g++", "clang++")  # CMake's order, Modules/CMakeDetermineCXXCompiler.cmake
_GET_ONE = (
    "Install g++ 11 or newer, or clang (Debian, Ubuntu: `apt install g++`; macOS: `xcode-select --install`)."
)


@dataclass(frozen=True)
class Compiler:
    """What the compiler says of itself, and the flags that it needs here."""

    version: str
    flags: tuple[str, ...]


def find_compiler() -> Compiler:
    """The one that CMake will take. Raises BuildError if there is none, or none that can do it."""
    if sys.platform == "win32":  # CMake finds Visual Studio's in ways of its own
        return Compiler("the compiler that CMake finds", ())
    given = shlex.split(os.environ.get("CXX", ""))  # as for CMake, options or a launcher may be part of it
    names = given[:1] or _NAMES
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        missing = f"CXX={given[0]} not found" if given else "no C++ compiler found"
        raise BuildError(f"{missing}; llama.cpp has to be compiled", _GET_ONE)
    command = [path, *given[1:]]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    version = (done.stdout.splitlines() or [shlex.join(command)])[0]
    return Compiler(" ".join([version, *given[1:]]), _flags(command, version))


def _flags(command: Sequence[str], version: str) -> tuple[str, ...]:
    first = ""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "tiles.cpp")
        source.write_text(_PROGRAM, encoding="utf-8")
        for flags in _REMEDIES:
            failure = _failure(command, flags, source)
            if not failure:
                return flags
            first = first or failure
    raise BuildError(f"{version} cannot compile llama.cpp: {first}", _GET_ONE)


def _failure(command: Sequence[str], flags: Sequence[str], source: Path) -> str:
    """Why the program is not right with these flags; '' if it is."""
    program = source.with_suffix(".exe")
    native = ["-march=native"] if platform.machine() == "x86_64" else []  # as ggml compiles there
    line = [*command, "-std=c++17", "-O3", *native, *flags, str(source), "-o", str(program)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        errors = (said for said in done.stderr.splitlines() if "error" in said)
        return next(errors, f"it ended with {done.returncode}")
    code = subprocess.run([str(program)], capture_output=True, check=False).returncode  # noqa: S603
    return f"a test program ended with {code}" if code else ""
