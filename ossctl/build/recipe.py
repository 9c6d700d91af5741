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
    """CMake's switch for it; a program without which its build fails late, and how to get that.

    `facts` are commands whose output decides what is compiled: versions, and the GPUs that are here, for
    whose architecture ggml compiles by default.
    """

    switch: str
    tool: str = ""
    get_tool: str = ""
    facts: tuple[tuple[str, ...], ...] = ()


BACKENDS = {
    "cpu": Backend("-DGGML_METAL=OFF"),
    "cuda": Backend(
        "-DGGML_CUDA=ON",
        "nvcc",
        "Install the CUDA toolkit, or put its bin folder on PATH.",
        (("nvcc", "--version"), ("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader")),
    ),
    "vulkan": Backend(
        "-DGGML_VULKAN=ON",
        "glslc",
        "Debian, Ubuntu: `apt install glslc libvulkan-dev`.",
        (("glslc", "--version"),),
    ),
    "rocm": Backend(
        "-DGGML_HIP=ON",
        "hipconfig",
        "Install ROCm's HIP SDK, or build for vulkan.",
        (("hipconfig", "--version"), ("rocm_agent_enumerator",)),
    ),
    "metal": Backend("-DGGML_METAL=ON"),
}
# What CMake and compilers read from the environment.
_VARIABLES = re.compile(
    r"(C|CXX|CUDA|HIP|LD)FLAGS|CC|CXX|CUDACXX|HIPCXX|CUDAHOSTCXX|CUDAARCHS|NVCC_.*|CMAKE_.*|SKBUILD_.*"
)


@dataclass(frozen=True)
class Recipe:
    """All that decides what comes out of the compiler.

    `processor` names its instruction sets, `facts` what the backends' tools say, `variables` are those of the
    user's that CMake reads.
    """

    requirement: str
    backends: tuple[str, ...]
    compiler: str
    flags: tuple[str, ...]
    cmake_args: str
    processor: str
    facts: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """A name for the wheel: equal for equal recipes."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]

    @property
    def environment(self) -> dict[str, str]:
        """The variables for pip and CMake; what the user has set comes last, and so wins."""
        own = " ".join(self.flags)  # C, too: there ggml says which instruction sets it has
        flags = {name: f"{own} {os.environ.get(name, '')}".strip() for name in ("CFLAGS", "CXXFLAGS")}
        return {**os.environ, **flags, "CMAKE_ARGS": self.cmake_args}


def make_recipe(backends: Sequence[str]) -> Recipe:
    """How to build for these backends on this machine. Raises BuildError where something is missing."""
    for name in backends:
        backend = BACKENDS[name]
        if backend.tool and shutil.which(backend.tool) is None:
            raise BuildError(f"{backend.tool} not found; a {name} build needs it", backend.get_tool)
    compiler = find_compiler()
    switches = [_ALWAYS, *(BACKENDS[name].switch for name in backends), os.environ.get("CMAKE_ARGS", "")]
    return Recipe(
        REQUIREMENT,
        tuple(backends),
        compiler.version,
        compiler.flags,
        " ".join(filter(None, switches)),
        processor(),
        tuple(_output(fact) for name in backends for fact in BACKENDS[name].facts),
        tuple(sorted(f"{name}={value}" for name, value in os.environ.items() if _VARIABLES.fullmatch(name))),
    )


def _output(command: Sequence[str]) -> str:
    """What a program says; '' if it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return ""
    return done.stdout.strip()


@functools.cache
def _brand() -> str:
    """`Apple M4 Max`; only macOS has it here."""
    return _output(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]) if sys.platform == "darwin" else ""


def processor(root: Path = Path("/")) -> str:
    """Name and instruction sets of this CPU, as the system tells them."""
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return f"{platform.machine()} | {_brand() or platform.processor()}"
    first, _, _ = text.partition("\n\n")
    facts = re.findall(r"^(?:model name|flags|Features|CPU part)\s*: (.*)$", first, re.MULTILINE)
    return " | ".join([platform.machine(), *facts])
