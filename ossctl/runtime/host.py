"""The computer itself: RAM that can be had, physical cores, GPUs that the system knows of.

Every question has a way on Linux, macOS and Windows. `root` stands for `/` where the system's files are read.
"""

import ctypes
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from pathlib import Path

_ROOT = Path("/")
_NO_LIMIT = 1 << 60  # cgroup v1 writes a number near 2**63 for none
_NVIDIA, _AMD = 0x10DE, 0x1002  # PCI vendors
_DISPLAY = 0x03  # PCI base class


@dataclass(frozen=True)
class Ram:
    """Bytes in all, and bytes that programs can get without swapping."""

    total: int
    free: int


def ram(root: Path = _ROOT) -> Ram:
    """The RAM of this system, or of the container that this process is confined to."""
    if sys.platform == "win32":
        return _windows_ram()
    if sys.platform == "darwin":
        return _mac_ram()
    return linux_ram(root)


def physical_cores(root: Path = _ROOT) -> int:
    """Cores, hyper-threads not counted, that this process may use; at least 1."""
    if sys.platform == "darwin":
        return _sysctl("hw.perflevel0.physicalcpu") or _sysctl("hw.physicalcpu") or os.cpu_count() or 1
    if sys.platform == "win32":
        return _windows_cores() or os.cpu_count() or 1
    return linux_cores(root, os.sched_getaffinity(0))


def gpus(root: Path = _ROOT) -> tuple[str, ...]:
    """Vendors of the graphics cards that the system has, "NVIDIA" or "AMD"; no others are looked for."""
    if sys.platform == "darwin":
        return ()  # Metal is in every build
    if sys.platform == "win32":
        return (
            ("NVIDIA",) if Path(os.environ.get("SYSTEMROOT", ""), "System32", "nvcuda.dll").exists() else ()
        )
    return linux_gpus(root)


def carved_out(device_id: str, total: int, ram_total: int, root: Path = _ROOT) -> int:
    """Bytes of an integrated GPU that the firmware keeps from the RAM, of `total` that it reports.

    On Linux amdgpu says it, and other drivers keep nothing. Elsewhere it is at least what RAM cannot hold.
    """
    if sys.platform != "linux":
        return max(0, total - ram_total)
    return min(total, _number(root / "sys/bus/pci/devices" / device_id / "mem_info_vram_total"))


def linux_ram(root: Path) -> Ram:
    """From /proc/meminfo, and from the cgroups (v1 and v2) that this process is in, whichever is less."""
    info: dict[str, str] = dict(re.findall(r"^(\w+):\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE))
    total = int(info.get("MemTotal", 0)) * 1024
    free = int(info.get("MemAvailable", "0")) * 1024
    for limit, used in _cgroup_memory(root):
        if 0 < limit < _NO_LIMIT:
            total, free = min(total, limit), min(free, max(0, limit - used))
    return Ram(total, free)


def _cgroup_memory(root: Path) -> Iterable[tuple[int, int]]:
    """(limit, used without what can be dropped) of each group that this process is in, in bytes."""
    for folder in _cgroup_folders(root, "memory"):
        v2 = folder / "memory.max"
        limit, used = ("memory.max", "memory.current") if v2.exists() else (
            "memory.limit_in_bytes", "memory.usage_in_bytes"
        )  # fmt: skip
        text = _text(folder / "memory.stat")
        droppable = max(
            map(int, re.findall(r"^(?:total_)?inactive_file (\d+)$", text, re.MULTILINE)), default=0
        )
        yield _number(folder / limit), max(0, _number(folder / used) - droppable)


def _cgroup_folders(root: Path, controller: str) -> Iterable[Path]:
    """The folders of this process's group and of all above it, in v2 and in v1."""
    base = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0":
            top = base
        elif controller in controllers.split(","):
            top = base / controller
        else:
            continue
        group = top / path.lstrip("/")
        # inside a container, the path may be the host's, and the container's own group is the top
        yield from (
            folder for folder in (group, *group.parents) if folder.is_relative_to(top) and folder.is_dir()
        )


def linux_cores(root: Path, allowed: Iterable[int]) -> int:
    """Different cores among the `allowed` CPUs, no more than the cgroup's quota of CPU time."""
    cpus = root / "sys/devices/system/cpu"
    allowed = set(allowed)
    siblings = {_text(cpus / f"cpu{n}/topology/thread_siblings_list").strip() or f"cpu{n}" for n in allowed}
    quota = len(allowed)
    for folder in _cgroup_folders(root, "cpu"):
        v2 = _text(folder / "cpu.max").split()
        most, period = v2 if len(v2) == 2 else (
            _text(folder / "cpu.cfs_quota_us").strip(), _text(folder / "cpu.cfs_period_us").strip()
        )  # fmt: skip
        if most.isdigit() and period.isdigit() and int(period):
            quota = min(quota, ceil(int(most) / int(period)))
    return max(1, min(len(siblings), quota))


def linux_gpus(root: Path) -> tuple[str, ...]:
    """Vendors of display devices on the PCI bus."""
    found = []
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        if _number(device / "class", 16) >> 16 == _DISPLAY:
            vendor = {_NVIDIA: "NVIDIA", _AMD: "AMD"}.get(_number(device / "vendor", 16))
            found += [vendor] if vendor else []
    return tuple(found)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(path: Path, base: int = 10) -> int:
    """The number in a file; 0 if there is none, as in `max`."""
    try:
        return int(_text(path).strip(), base)
    except ValueError:
        return 0


def _sysctl(name: str) -> int:
    done = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=False)  # noqa: S603
    return int(done.stdout) if done.stdout.strip().isdigit() else 0


def _mac_ram() -> Ram:
    """macOS counts what it can drop or compress apart: vm_stat lists it in pages."""
    done = subprocess.run(["/usr/bin/vm_stat"], capture_output=True, text=True, check=False)
    return mac_ram(_sysctl("hw.memsize"), done.stdout)


def mac_ram(total: int, vm_stat: str) -> Ram:
    """RAM from what vm_stat prints."""
    page = re.search(r"page size of (\d+) bytes", vm_stat)
    pages = dict(
        re.findall(r"^Pages (free|inactive|speculative|purgeable):\s+(\d+)\.", vm_stat, re.MULTILINE)
    )
    return Ram(total, min(total, sum(map(int, pages.values())) * (int(page[1]) if page else 4096)))


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX, sysinfoapi.h"""

    _fields_ = [
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("available", ctypes.c_uint64),
        ("others", ctypes.c_uint64 * 5),
    ]


def _windows_ram() -> Ram:
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    kernel: ctypes.CDLL = getattr(ctypes, "windll").kernel32  # noqa: B009 (mypy knows it on Windows only)
    kernel.GlobalMemoryStatusEx(ctypes.byref(status))
    return Ram(status.total, status.available)


def _windows_cores() -> int:
    """Records of processor cores from GetLogicalProcessorInformationEx; they begin with kind and size."""
    kernel: ctypes.CDLL = getattr(ctypes, "windll").kernel32  # noqa: B009 (mypy knows it on Windows only)
    length = ctypes.c_uint32(0)
    kernel.GetLogicalProcessorInformationEx(0, None, ctypes.byref(length))
    buffer = ctypes.create_string_buffer(length.value or 8)
    if not kernel.GetLogicalProcessorInformationEx(0, buffer, ctypes.byref(length)):
        return 0
    cores = at = 0
    while at < length.value:
        cores += 1
        at += int.from_bytes(buffer.raw[at + 4 : at + 8], "little")
    return cores


def system_name() -> str:
    """`Linux x86_64`, `Darwin arm64`, …"""
    return f"{platform.system()} {platform.machine()}"
