"""A build's inputs: backends, compiler, flags and environment."""

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
from ossctl.build.patches import PATCHES

_ALWAYS = "-DGGML_RPC=ON -DLLAVA_BUILD=OFF"  # devices of other machines; no image input


@dataclass(frozen=True)
class Backend:
    """A backend's CMake switch, and the tool that its build requires, with a hint on how to install it.

    `facts` are commands whose output affects the build: tool versions, and the GPUs, because ggml compiles
    for their architecture by default.
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
# The variables that CMake and compilers read.
_VARIABLES = re.compile(
    r"(C|CXX|CUDA|HIP|LD)FLAGS|CC|CXX|CUDACXX|HIPCXX|CUDAHOSTCXX|CUDAARCHS|NVCC_.*|CMAKE_.*|SKBUILD_.*"
)


@dataclass(frozen=True)
class Recipe:
    """Everything that affects the compiled libraries.

    `processor` is the CPU with its instruction sets, `facts` the output of the backends' commands,
    `variables` the `NAME=value` pairs of the environment that CMake and compilers read. `patches` are what
    changes in the source.
    """

    requirement: str
    backends: tuple[str, ...]
    compiler: str
    flags: tuple[str, ...]
    cmake_args: str
    processor: str
    facts: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    patches: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Hash of the recipe: names the folder of its wheel."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the build. The user's own flags come last, so they take precedence."""
        own = " ".join(self.flags)  # for C as well, where ggml reports its instruction sets
        flags = {name: f"{own} {os.environ.get(name, '')}".strip() for name in ("CFLAGS", "CXXFLAGS")}
        return {**os.environ, **flags, "CMAKE_ARGS": self.cmake_args}


def make_recipe(backends: Sequence[str]) -> Recipe:
    """The recipe for these backends on this machine. Raises BuildError if a tool is missing."""
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
        tuple(f"{patch.path}: {patch.after}" for patch in PATCHES),
    )


def _output(command: Sequence[str]) -> str:
    """The standard output of `command`; "" if the program is not installed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return ""
    return done.stdout.strip()


@functools.cache
def _brand() -> str:
    """The CPU's marketing name on macOS, such as `Apple M4 Max`; "" elsewhere."""
    return _output(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]) if sys.platform == "darwin" else ""


def processor(root: Path = Path("/")) -> str:
    """Name and instruction sets of this CPU, from `root`/proc/cpuinfo on Linux."""
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return f"{platform.machine()} | {_brand() or platform.processor()}"
    first, _, _ = text.partition("\n\n")
    facts = re.findall(r"^(?:model name|flags|Features|CPU part)\s*: (.*)$", first, re.MULTILINE)
    return " | ".join([platform.machine(), *facts])
