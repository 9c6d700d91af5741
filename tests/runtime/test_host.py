"""What a computer is said to have, on this one and in files as Linux and macOS would show them."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from ossctl.runtime.devices import backends, list_devices, placeable, system_info
from ossctl.runtime.host import carved_out, linux_cores, linux_gpus, linux_ram, physical_cores, ram

GIB = 1 << 30


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


MEMINFO = {"proc/meminfo": "MemTotal:       33554432 kB\nMemFree:  1048576 kB\nMemAvailable:   16777216 kB\n"}


def test_this_machine_has_ram_and_cores() -> None:
    found = ram()
    assert 0 < found.free <= found.total
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)


def test_available_ram_counts_what_the_kernel_would_drop(tmp_path: Path) -> None:
    found = linux_ram(tree(tmp_path, MEMINFO))
    assert (found.total, found.free) == (32 * GIB, 16 * GIB)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_ram_is_known_without_proc(tmp_path: Path) -> None:
    found = linux_ram(tmp_path)
    assert found.total == pytest.approx(psutil.virtual_memory().total, rel=0.1)
    assert 0 < found.free <= found.total


@pytest.mark.skipif(sys.platform != "linux", reason="reads /sys")
def test_what_an_apus_firmware_keeps_is_read_from_its_driver(tmp_path: Path) -> None:
    root = tree(tmp_path, {"sys/bus/pci/devices/0000:c1:00.0/mem_info_vram_total": f"{96 * GIB}\n"})
    assert carved_out("0000:c1:00.0", 112 * GIB, 31 * GIB, root) == 96 * GIB
    assert carved_out("0000:c1:00.0", 64 * GIB, 31 * GIB, root) == 64 * GIB
    assert carved_out("0000:01:00.0", 64 * GIB, 31 * GIB, root) == 0
    assert carved_out("", 183 * GIB, 120 * GIB, root) == 0, "no driver says so: it is the RAM, twice"


def test_elsewhere_the_firmware_keeps_what_ram_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert carved_out("", 112 * GIB, 32 * GIB) == 80 * GIB
    assert carved_out("", 48 * GIB, 64 * GIB) == 0


@pytest.mark.parametrize(
    "files",
    [
        {
            "proc/self/cgroup": "0::/box\n",
            "sys/fs/cgroup/box/memory.max": str(8 * GIB),
            "sys/fs/cgroup/box/memory.current": str(6 * GIB),
            "sys/fs/cgroup/box/memory.stat": f"anon 5\ninactive_file {3 * GIB}\n",
        },
        {  # a model that was read twice, and a file that is not written yet
            "proc/self/cgroup": "0::/box\n",
            "sys/fs/cgroup/box/memory.max": str(8 * GIB),
            "sys/fs/cgroup/box/memory.current": str(7 * GIB),
            "sys/fs/cgroup/box/memory.stat": (
                f"file {5 * GIB}\nfile_dirty {GIB}\nfile_writeback 0\ninactive_file {GIB}\n"
                f"active_file {4 * GIB}\nunevictable {GIB}\n"
            ),
        },
        {
            "proc/self/cgroup": "12:cpu,cpuacct:/box\n4:memory:/box\n0::/\n",
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes": str(8 * GIB),
            "sys/fs/cgroup/memory/box/memory.usage_in_bytes": str(6 * GIB),
            "sys/fs/cgroup/memory/box/memory.stat": f"inactive_file 1\ntotal_inactive_file {3 * GIB}\n",
        },
        {
            "proc/self/cgroup": "4:memory:/box\n",
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes": str(8 * GIB),
            "sys/fs/cgroup/memory/box/memory.usage_in_bytes": str(7 * GIB),
            "sys/fs/cgroup/memory/box/memory.stat": (
                f"active_file 1\ndirty 1\ntotal_dirty {GIB}\ntotal_writeback 0\n"
                f"total_inactive_file {GIB}\ntotal_active_file {4 * GIB}\n"
            ),
        },
        {  # the limit is on the group above
            "proc/self/cgroup": "0::/box/inner\n",
            "sys/fs/cgroup/box/inner/memory.max": "max\n",
            "sys/fs/cgroup/box/memory.max": str(8 * GIB),
            "sys/fs/cgroup/box/memory.current": str(3 * GIB),
        },
        {  # inside a container, where the path is the host's
            "proc/self/cgroup": "0::/docker/0123abc\n",
            "sys/fs/cgroup/memory.max": str(8 * GIB),
            "sys/fs/cgroup/memory.current": str(3 * GIB),
        },
    ],
    ids=["v2", "v2, read twice", "v1", "v1, read twice", "above", "container"],
)
def test_a_container_limits_ram(tmp_path: Path, files: dict[str, str]) -> None:
    found = linux_ram(tree(tmp_path, {**MEMINFO, **files}))
    assert (found.total, found.free) == (8 * GIB, 5 * GIB)


def test_no_limit_is_none(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "4:memory:/\n"}
    files["sys/fs/cgroup/memory/memory.limit_in_bytes"] = "9223372036854771712"
    assert linux_ram(tree(tmp_path, {**MEMINFO, **files})).free == 16 * GIB


SIBLINGS = {
    f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": f"{n % 4},{n % 4 + 4}\n" for n in range(8)
}


def test_hyper_threads_are_not_cores(tmp_path: Path) -> None:
    root = tree(tmp_path, SIBLINGS)
    assert linux_cores(root, range(8)) == 4
    assert linux_cores(root, {0, 4}) == 1
    assert linux_cores(root, {0, 1, 4}) == 2


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"},
        {
            "proc/self/cgroup": "3:cpu,cpuacct:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    ],
    ids=["v2", "v1"],
)
def test_a_container_limits_cores(tmp_path: Path, files: dict[str, str]) -> None:
    assert linux_cores(tree(tmp_path, {**SIBLINGS, **files}), range(8)) == 2


def test_without_any_such_file_there_is_a_core_a_cpu(tmp_path: Path) -> None:
    assert linux_cores(tmp_path, {0, 1, 2}) == 3


def test_graphics_cards_are_found_on_the_bus(tmp_path: Path) -> None:
    bus = "sys/bus/pci/devices/0000:0"
    cards = {
        f"{bus}1:00.0/class": "0x030000\n",
        f"{bus}1:00.0/vendor": "0x10de\n",
        f"{bus}2:00.0/class": "0x030000\n",
        f"{bus}2:00.0/vendor": "0x1234\n",  # a virtual machine's screen
        f"{bus}3:00.0/class": "0x010802\n",
        f"{bus}3:00.0/vendor": "0x10de\n",  # no display
        f"{bus}4:00.0/class": "0x038000\n",
        f"{bus}4:00.0/vendor": "0x1002\n",
    }
    assert linux_gpus(tree(tmp_path, cards)) == ("NVIDIA", "AMD")


@pytest.mark.skipif(sys.platform != "linux", reason="compares with /proc and /sys")
@pytest.mark.parametrize("system", ["win32", "freebsd14"])
def test_elsewhere_psutil_finds_what_linux_shows(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert psutil.LINUX  # it has chosen its implementation
    monkeypatch.setattr(sys, "platform", system)
    found = ram()
    assert found.total == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < found.free <= found.total
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)


def test_llama_cpp_says_what_it_is_built_of() -> None:
    assert "CPU" in backends()
    assert {device.backend for device in list_devices()} <= set(backends())
    assert "CPU" in system_info()
    assert all(device.backend != "CPU" for device in placeable(list_devices()))
