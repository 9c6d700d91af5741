"""The computer itself: available RAM, physical cores and graphics cards.

psutil answers on macOS and Windows. On Linux the limits of a container count as well, and /proc and /sys are
read directly, which is faster than importing psutil. `root` stands for `/` there.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from pathlib import Path

_ROOT = Path("/")
_PAGES = ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES")
_NO_LIMIT = 1 << 60  # cgroup v1 writes a number near 2**63 for no limit
_NVIDIA, _AMD = 0x10DE, 0x1002  # PCI vendors
_DISPLAY = 0x03  # PCI base class


@dataclass(frozen=True)
class Ram:
    """Bytes installed, and bytes that programs can get without swapping."""

    total: int
    free: int


def ram(root: Path = _ROOT) -> Ram:
    """The RAM of this system, or of the container that this process is confined to."""
    if sys.platform == "linux":
        return linux_ram(root)
    import psutil

    memory = psutil.virtual_memory()
    return Ram(memory.total, memory.available)


def physical_cores(root: Path = _ROOT) -> int:
    """Cores that this process may use, hyper-threads not counted; at least 1.

    On Apple silicon these are the performance cores, as in llama.cpp (common/common.cpp).
    """
    if sys.platform == "linux":
        return linux_cores(root, os.sched_getaffinity(0))
    import psutil

    performance = _sysctl("hw.perflevel0.physicalcpu") if sys.platform == "darwin" else 0
    return performance or psutil.cpu_count(logical=False) or os.cpu_count() or 1


def gpus(root: Path = _ROOT) -> tuple[str, ...]:
    """Vendors of the installed graphics cards; only "NVIDIA" and "AMD" are looked for."""
    if sys.platform == "darwin":
        return ()  # every build has Metal
    if sys.platform == "win32":
        driver = Path(os.environ.get("SYSTEMROOT", ""), "System32", "nvcuda.dll")
        return ("NVIDIA",) if driver.exists() else ()
    return linux_gpus(root)


def carved_out(device_id: str, total: int, ram_total: int, root: Path = _ROOT) -> int:
    """Bytes that the firmware takes from RAM for an integrated GPU with `total` bytes.

    On Linux amdgpu reports them, and other drivers take none. Elsewhere they are at least what exceeds RAM.
    """
    if sys.platform != "linux":
        return max(0, total - ram_total)
    return min(total, _number(root / "sys/bus/pci/devices" / device_id / "mem_info_vram_total"))


def linux_ram(root: Path) -> Ram:
    """The smallest of /proc/meminfo, or sysinfo(2) without it, and the limits of this process's cgroups."""
    info: dict[str, str] = dict(re.findall(r"^(\w+):\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE))
    if "MemAvailable" in info:
        total, free = (int(info[name]) * 1024 for name in ("MemTotal", "MemAvailable"))
    else:
        total, free = (os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") for name in _PAGES)
    for limit, used in _cgroup_memory(root):
        if 0 < limit < _NO_LIMIT:
            total, free = min(total, limit), min(free, max(0, limit - used))
    return Ram(total, free)


def _cgroup_memory(root: Path) -> Iterable[tuple[int, int]]:
    """Limit and use in bytes of each cgroup of this process, without the page cache that can be dropped."""
    for folder in _cgroup_folders(root, "memory"):
        v2 = folder / "memory.max"
        limit, used = ("memory.max", "memory.current") if v2.exists() else (
            "memory.limit_in_bytes", "memory.usage_in_bytes"
        )  # fmt: skip
        droppable = _droppable(_text(folder / "memory.stat"))
        yield _number(folder / limit), max(0, _number(folder / used) - droppable)


def _droppable(stat: str) -> int:
    """Bytes of the page cache that are clean, from a memory.stat; locked pages are in neither of the lists.

    Pages that were read twice are active, as those of a model that was loaded before, and can be dropped too.
    The values of v1 that include groups below start with `total_`.
    """
    found: dict[str, str] = dict(re.findall(r"^(\w+) (\d+)$", stat, re.MULTILINE))

    def total(*names: str) -> int:
        return sum(int(found.get(f"total_{name}") or found.get(name, "0")) for name in names)

    unwritten = total("file_dirty", "file_writeback", "dirty", "writeback")  # v2 and v1
    return max(0, total("active_file", "inactive_file") - unwritten)


def _cgroup_folders(root: Path, controller: str) -> Iterable[Path]:
    """The folders of this process's group and of its ancestors, in v2 and v1."""
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
        # In a container the path may be the host's, while the container's own group is the top.
        yield from (
            folder for folder in (group, *group.parents) if folder.is_relative_to(top) and folder.is_dir()
        )


def linux_cores(root: Path, allowed: Iterable[int]) -> int:
    """Distinct cores among the `allowed` CPUs, limited by the cgroup's CPU quota."""
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
    """Vendors of the display devices on the PCI bus."""
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
