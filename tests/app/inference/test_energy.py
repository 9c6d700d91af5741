"""Energy: counters laid out as Linux has them, and none."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from ossctl.app.batch.job import BatchJob
from ossctl.app.batch.line_parser import LineParser
from ossctl.app.batch.line_runner import Rules
from ossctl.app.batch.sink import Sink
from ossctl.app.batch.summary import BatchSummary
from ossctl.app.inference import energy
from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.energy import Energy, EnergyMeter, board_counters, package_counters
from ossctl.app.sites.answerer import answerer_of
from ossctl.app.sites.fleet import Fleet, Member, Place
from ossctl.app.sites.site import Ready, Site
from ossctl.app.wire.source import Source
from ossctl.cli.batch_view import describe

RANGE = 262_143_328_850  # microjoules, as many processors have it


def zone(folder: Path, number: str, name: str, microjoules: int) -> Path:
    path = folder / f"intel-rapl:{number}"
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "max_energy_range_uj").write_text(f"{RANGE}\n")
    (path / "energy_uj").write_text(f"{microjoules}\n")
    return path / "energy_uj"


def test_whole_packages_are_counted_through_a_wraparound(tmp_path: Path) -> None:
    (tmp_path / "intel-rapl").mkdir()
    first = zone(tmp_path, "0", "package-0", 5_000_000)
    zone(tmp_path, "0:0", "core", 0)  # a part of it
    second = zone(tmp_path, "1", "package-1", RANGE - 1_000_000)
    zone(tmp_path, "2", "psys", 0)  # all of them, and more
    meter = EnergyMeter(list(package_counters(tmp_path)))
    assert meter.read() == Energy(0, ("package-0", "package-1"))
    first.write_text("8600000")
    second.write_text("1500000")
    found = meter.read()
    assert found is not None
    assert found.joules == pytest.approx(3.6 + 2.5)
    first.unlink()
    assert (meter.read(), meter.read()) == (None, None)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root reads everything")
def test_counters_that_only_root_may_read_are_left_out(tmp_path: Path) -> None:
    zone(tmp_path, "0", "package-0", 0).chmod(0)
    assert EnergyMeter(list(package_counters(tmp_path))).read() is None


@pytest.mark.parametrize("content", ["", "nonsense"])
def test_counters_that_cannot_be_read_are_left_out(tmp_path: Path, content: str) -> None:
    zone(tmp_path, "0", "package-0", 0).write_text(content)
    assert EnergyMeter(list(package_counters(tmp_path))).read() is None
    assert list(package_counters(tmp_path / "missing")) == []


class _NvmlError(Exception):
    pass


def test_boards_are_counted_by_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the library, which does not load without a driver."""
    millijoules = {"0000:c1:00.0": 7_000}

    def handle(address: str) -> str:
        if address not in millijoules:
            raise _NvmlError
        return address

    nvml = SimpleNamespace(
        NVMLError=_NvmlError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByPciBusId=handle,
        nvmlDeviceGetTotalEnergyConsumption=millijoules.__getitem__,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    meter = EnergyMeter(list(board_counters(["0000:c1:00.0", "0000:d1:00.0"])))
    millijoules["0000:c1:00.0"] += 1_500
    assert meter.read() == Energy(1.5, ("0000:c1:00.0",))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert list(board_counters(["0000:c1:00.0"])) == []


def test_boards_of_engines_that_are_ready_later_are_counted_from_then_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boards = {"CUDA0": "0000:c1:00.0", "CUDA1": "0000:d1:00.0"}
    millijoules = dict.fromkeys(boards.values(), 7_000)
    nvml = SimpleNamespace(
        NVMLError=_NvmlError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByPciBusId=str,
        nvmlDeviceGetTotalEnergyConsumption=millijoules.__getitem__,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    devices = [SimpleNamespace(name=name, device_id=address) for name, address in boards.items()]
    monkeypatch.setattr(energy, "list_devices", lambda _: devices)
    meter = EnergyMeter([])
    for names, added in ((["CUDA0"], 1_000), (["CUDA0", "CUDA1"], 2_000), (["CUDA1"], 500)):
        meter.add_boards(names)
        for address in millijoules:
            millijoules[address] += added
        found = meter.read()
    assert found == Energy(3.5 + 2.5, tuple(boards.values()))


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_batch_counts_the_devices_of_all_engines_unless_they_are_elsewhere(elsewhere: bool) -> None:
    fleet = Fleet([], print)
    place = Place("engine", lambda: pytest.fail("none is started"))
    ready = [Ready("m", b"", 1, 1, "", "", devices=(name,)) for name in ("CUDA0", "CUDA1")]
    fleet.members = [Member(place, cast("Site", None), each) for each in (ready[0], None)]
    job = BatchJob(Source(None), Sink(None), LineParser(Defaults()), Rules())
    found = answerer_of(job, fleet, ready[0], elsewhere=elsewhere)
    assert (found.devices(), found.elsewhere) == (("CUDA0",), elsewhere)
    fleet.members[1].ready = ready[1]
    assert sorted(found.devices()) == ["CUDA0", "CUDA1"]


def test_a_summary_tells_the_energy_only_if_it_is_known() -> None:
    summary = BatchSummary(completion_tokens=4000)
    assert "energy" not in summary.report()
    assert "Wh" not in describe(summary, None)
    summary.energy = Energy(4500.0, ("package-0",))
    assert summary.report()["energy"] == {
        "wh": 1.25,
        "wh_per_1000_tokens": 0.3125,
        "counters": ("package-0",),
    }
    assert describe(summary, None).endswith(" · 1.25 Wh, 0.312 per 1,000 tokens")
