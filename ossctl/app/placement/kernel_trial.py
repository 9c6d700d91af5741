"""Which of llama.cpp's ways to compute work here: tried once per build, processor and devices.

On a CPU llama.cpp has faster kernels for weights in buffers of their own (AMX tiles, repacked layouts), and
a compiler, a driver or a wheel from elsewhere may make any of them kill the process or compute nonsense. So
before the first load a small model, whose matrices are of every type that has such kernels, is run in each
place in another process. What works there as it does with the plain kernels is used; the rest is left out,
and said.
"""

import functools
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ossctl.app.placement.self_test import (
    CPU,
    CPU_EXTRA,
    ProbeFailure,
    ProbeRun,
    difference,
    generate_on,
    is_wrong,
)
from ossctl.build import command
from ossctl.build.recipe import processor
from ossctl.data import DATA
from ossctl.errors import OssctlError
from ossctl.planning.attention import USUAL_COSTS, AttentionCosts
from ossctl.settings import Paths
from ossctl.storage.whole_file import write_whole

_log = logging.getLogger(__name__)

_SECONDS = 60  # for a place; a driver that compiles its shaders the first time takes some of them
_REMEMBERED = 16  # trials


@dataclass(frozen=True)
class Trial:
    """What is wrong by place; a place that is not there is right, or has not been tried.

    `attention` is what that costs on this CPU.
    """

    problems: Mapping[str, str] = field(default_factory=dict)
    attention: AttentionCosts = USUAL_COSTS

    @property
    def extra_kernels(self) -> bool:
        """Whether weights may go into the buffers of the faster kernels."""
        return CPU_EXTRA not in self.problems

    @property
    def remark(self) -> str:
        """A line for the user where the faster kernels are left out."""
        if self.extra_kernels:
            return ""
        return (
            "The faster CPU kernels of this build of llama.cpp are left out: in a trial "
            f"{self.problems[CPU_EXTRA]}. A new build may have them right: {command()}"
        )


def tried_kernels() -> Trial:
    """What was found here, tried now if it never was. Raises OssctlError if not even plain kernels work."""
    trial = _remembered(_key(_devices()))
    if trial is None:
        trial = try_kernels()
        remember_kernels(trial)
    if CPU in trial.problems:
        raise OssctlError(
            f"this build of llama.cpp does not work on this computer: {trial.problems[CPU]}",
            f"It may be for another processor. A new build: {command()}",
        )
    return trial


def remembered_kernels() -> Trial:
    """What was found here, if anything was tried."""
    return _remembered(_key(_devices())) or Trial()


def try_kernels() -> Trial:
    """Try every place now, whatever is remembered. What could not be tried counts as right."""
    places = [CPU, CPU_EXTRA, *_devices()]
    found: dict[str, ProbeRun | ProbeFailure] = {}
    while left := [place for place in places if place not in found]:
        # who comes after the one that ended the process gets another
        results = generate_on(DATA / "probe.gguf", *left, seconds=_SECONDS * len(left))
        works = sum(isinstance(result, ProbeRun) for result in results)
        found |= dict(zip(left[: works + 1], results[: works + 1], strict=True))
        if isinstance(found[CPU], ProbeFailure):
            break
    problems = dict(_problems(found))
    return Trial(problems) if CPU in problems else Trial(problems, _measured_attention())


def _measured_attention() -> AttentionCosts:
    from ossctl.runtime.attention import attention_seconds
    from ossctl.runtime.host import physical_cores

    cores = physical_cores()
    read, write = 64, 1  # tokens at once
    return AttentionCosts(
        read_flash=attention_seconds(read, cores, flash=True),
        read_plain=attention_seconds(read, cores, flash=False),
        write_flash=attention_seconds(write, cores, flash=True),
        write_plain=attention_seconds(write, cores, flash=False),
    )


def _problems(found: Mapping[str, ProbeRun | ProbeFailure]) -> Iterable[tuple[str, str]]:
    plain = found[CPU]
    for place, result in found.items():
        if isinstance(result, ProbeFailure):
            if result.crashed:
                yield place, result.reason
            else:
                _log.warning("%s was not tried: %s", place, result.reason)
        elif isinstance(plain, ProbeRun) and is_wrong(share := difference(plain, result)):
            yield place, f"logits were off by {share:.0%} of their spread"


def _devices() -> dict[str, str]:
    """Name and description of the devices that llama.cpp would place layers on."""
    from ossctl.runtime.devices import list_devices, placeable

    return {device.name: device.description for device in placeable(list_devices())}


def _key(devices: Mapping[str, str]) -> str:
    """The build, the processor and the devices."""
    parts = json.dumps([_library_hash(), processor(), devices])
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


@functools.cache
def _library_hash() -> str:
    from ossctl.runtime.library import cpu_library

    return hashlib.sha256(cpu_library().read_bytes()).hexdigest()


def _path() -> Path:
    return Paths.from_environment().state / "kernels.json"


def _records() -> dict[str, Any]:
    try:
        records = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return records if isinstance(records, dict) else {}


def _remembered(key: str) -> Trial | None:
    try:
        record = _records()[key]
        return Trial(dict(record["problems"]), AttentionCosts(**record["attention"]))
    except (KeyError, TypeError, ValueError):
        return None


def remember_kernels(trial: Trial) -> None:
    """Keep it for the next time. A file that cannot be written is no reason to fail."""
    kept = dict(list(_records().items())[1 - _REMEMBERED :])
    record = {"problems": dict(trial.problems), "attention": asdict(trial.attention)}
    records = {**kept, _key(_devices()): record}
    try:
        _path().parent.mkdir(parents=True, exist_ok=True)
        write_whole(_path(), json.dumps(records, indent=1).encode())
    except (OSError, OssctlError):
        return
