"""What this machine is, and what llama.cpp sees of it."""

import ctypes
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ossctl.runtime.devices import backends, list_devices, placeable, system_info
from ossctl.runtime.ggml import function
from ossctl.runtime.host import physical_cores, ram
from tools.devices.finding import Finding, Verdict
from tools.devices.task import Task


def run(_task: Task) -> Iterator[Finding]:
    """One finding, whose figures are the head of the report."""
    devices = placeable(list_devices())
    figures = {"machine": _machine(), "llama_cpp": _llama_cpp(), "devices": [asdict(d) for d in devices]}
    names = ", ".join(f"{device.name} ({device.description})" for device in devices)
    yield Finding("machine", Verdict.OK, names or "no device beside the CPU", figures)


def _machine() -> dict[str, Any]:
    memory = ram()
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": physical_cores(),
        "ram_bytes": memory.total,
        "ram_free_bytes": memory.free,
        "nvidia_driver": _first_line(Path("/proc/driver/nvidia/version")),
    }


def _llama_cpp() -> dict[str, Any]:
    text = ctypes.c_char_p
    return {
        "bindings": version("llama-cpp-python"),
        "ggml": function("ggml_version", text)().decode(),
        "commit": function("ggml_commit", text)().decode(),
        "backends": backends(),
        "build": system_info().strip(),
        "cmake_args": os.environ.get("CMAKE_ARGS", "").strip(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").splitlines()[0]
    except (OSError, IndexError):
        return ""
