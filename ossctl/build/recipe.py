"""What a build is made of."""

import functools
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ossctl.build import REQUIREMENT
from ossctl.build.compiler import find_compiler
from ossctl.build.errors import BuildError

_ALWAYS = "-DGGML_RPC=ON -DLLAVA_BUILD=OFF"  # other machines as devices; nothing here reads images


@dataclass(frozen=True)
class Backend:
    """CMake's switch for it; a program without which its build fails late, and how to get that."""

    switch: str
    tool: str = ""
    get_tool: str = ""


BACKENDS = {
    "cpu": Backend("-DGGML_METAL=OFF"),
    "cuda": Backend("-DGGML_CUDA=ON", "nvcc", "Install the CUDA toolkit, or put its bin folder on PATH."),
    "vulkan": Backend("-DGGML_VULKAN=ON", "glslc", "Debian, Ubuntu: `apt install glslc libvulkan-dev`."),
    "rocm": Backend("-DGGML_HIP=ON", "hipconfig", "Install ROCm's HIP SDK, or build for vulkan."),
    "metal": Backend("-DGGML_METAL=ON"),
}


@dataclass(frozen=True)
class Recipe:
    """All that decides what comes out of the compiler. `processor` names its instruction sets."""

    requirement: str
    backends: tuple[str, ...]
    compiler: str
    cxx_flags: tuple[str, ...]
    cmake_args: str
    processor: str

    @property
    def key(self) -> str:
        """A name for the wheel: equal for equal recipes."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]

    @property
    def environment(self) -> dict[str, str]:
        """The variables for pip and CMake; what the user has set comes last, and so wins."""
        own = " ".join(self.cxx_flags)  # C, too: there ggml says which instruction sets it has
        flags = {name: f"{own} {os.environ.get(name, '')}".strip() for name in ("CFLAGS", "CXXFLAGS")}
        return {**os.environ, **flags, "CMAKE_ARGS": self.cmake_args}


def make_recipe(backends: Sequence[str]) -> Recipe:
    """How to build for these backends on this machine. Raises BuildError where something is missing."""
    for name in backends:
        backend = BACKENDS[name]
        if backend.tool and shutil.which(backend.tool) is None:
            raise BuildError(f"a build for {name} needs {backend.tool}, which is not here", backend.get_tool)
    compiler = find_compiler()
    switches = [_ALWAYS, *(BACKENDS[name].switch for name in backends), os.environ.get("CMAKE_ARGS", "")]
    return Recipe(
        REQUIREMENT,
        tuple(backends),
        compiler.version,
        compiler.flags,
        " ".join(filter(None, switches)),
        processor(),
    )


@functools.cache
def _brand() -> str:
    """`Apple M4 Max`; only macOS has it here."""
    line = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    if sys.platform != "darwin":
        return ""
    return subprocess.run(line, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603


def processor(root: Path = Path("/")) -> str:
    """Name and instruction sets of this CPU, as the system tells them."""
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return f"{platform.machine()} | {_brand() or platform.processor()}"
    first, _, _ = text.partition("\n\n")
    facts = re.findall(r"^(?:model name|flags|Features|CPU part)\s*: (.*)$", first, re.MULTILINE)
    return " | ".join([platform.machine(), *facts])
