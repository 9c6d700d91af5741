"""Which of llama.cpp's ways to compute work here: tested once per build, processor and devices.

On a CPU llama.cpp has optimized kernels for weights in buffers of their own (AMX tiles, repacked layouts),
and a compiler, a driver or a prebuilt wheel may make any of them crash or compute nonsense. So before the
first load a small model, whose matrices are of every type that has such kernels, runs in each place, in
another process. What agrees with the plain kernels is used; the rest is left out, and the user is told.
"""

import datetime as dt
import functools
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
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
from ossctl.storage.atomic import atomic_write

_log = logging.getLogger(__name__)

_SECONDS = 60  # for a place; a driver that compiles its shaders the first time takes some of them
_REMEMBERED = 16  # trials


@dataclass(frozen=True)
class Trial:
    """What is wrong by place; a place that is not there is right, or was not tested.

    `attention` is what that costs on this CPU. The trial is `complete` if every place was tested, on the day
    `tested`.
    """

    problems: Mapping[str, str] = field(default_factory=dict)
    attention: AttentionCosts = USUAL_COSTS
    complete: bool = False
    tested: dt.date | None = None

    @property
    def extra_kernels(self) -> bool:
        """Whether weights may go into the buffers of the optimized kernels."""
        return CPU_EXTRA not in self.problems

    @property
    def remark(self) -> str:
        """A line for the user where the optimized kernels are left out."""
        if self.extra_kernels:
            return ""
        return (
            f"llama.cpp's optimized CPU kernels failed a self-test: {self.problems[CPU_EXTRA]}. They are "
            f"disabled, so prompts are slower. This rebuilds llama.cpp: {command()}"
        )

    @property
    def is_due(self) -> bool:
        """Whether to test again: a failure may have been that day's, as a driver's may."""
        return bool(self.problems) and self.tested != _today()


def tried_kernels() -> Trial:
    """What was found here, tested now if it is due. Raises OssctlError if not even plain kernels work."""
    trial = _remembered(_key())
    if trial is None or trial.is_due:
        trial = try_kernels()
    if CPU in trial.problems:
        raise OssctlError(
            f"this build of llama.cpp does not work on this machine: {trial.problems[CPU]}",
            f"It may have been built for another processor. This rebuilds it: {command()}",
        )
    return trial


def remembered_kernels() -> Trial:
    """What was found here, if anything was tested."""
    return _remembered(_key()) or Trial()


def try_kernels() -> Trial:
    """Test every place now, and remember what was found if all could be tested."""
    found = generate_on(DATA / "probe.gguf", CPU, CPU_EXTRA, *_devices(), seconds=_SECONDS)
    problems = dict(_problems(found))
    tested = all(isinstance(run, ProbeRun) or place in problems for place, run in found.items())
    attention = USUAL_COSTS if CPU in problems else _measured_attention()
    trial = Trial(problems, attention, complete=tested, tested=_today())
    if trial.complete:
        _remember(trial)
    return trial


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


def _problems(found: Mapping[str, ProbeRun | ProbeFailure]) -> Iterator[tuple[str, str]]:
    plain = found[CPU]
    for place, run in found.items():
        if isinstance(run, ProbeFailure):
            if run.crashed or (run.hung and isinstance(plain, ProbeRun)):
                yield place, run.reason
            else:
                _log.warning("%s was not tested: %s", place, run.reason)
        elif isinstance(plain, ProbeRun) and is_wrong(share := difference(plain, run)):
            yield place, f"its logits are off by {share:.0%} of their range"


def _devices() -> dict[str, str]:
    """Name and description of the devices that llama.cpp would place layers on."""
    from ossctl.runtime.devices import list_devices, placeable

    return {device.name: device.description for device in placeable(list_devices())}


def _key() -> str:
    """The build, the processor and the devices."""
    parts = json.dumps([_fingerprint(), processor(), _devices()])
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


@functools.cache
def _fingerprint() -> str:
    from ossctl.runtime.library import fingerprint

    return fingerprint()


def _today() -> dt.date:
    return dt.datetime.now().astimezone().date()


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
        costs, tested = AttentionCosts(**record["attention"]), dt.date.fromisoformat(record["tested"])
        return Trial(dict(record["problems"]), costs, complete=True, tested=tested)
    except (KeyError, TypeError, ValueError):
        return None


def _remember(trial: Trial) -> None:
    """Keep it for the next time. A file that cannot be written is no reason to fail."""
    record = {
        "problems": dict(trial.problems),
        "attention": asdict(trial.attention),
        "tested": str(trial.tested),
    }
    records = {key: kept for key, kept in _records().items() if key != _key()}
    latest = dict(list(records.items())[1 - _REMEMBERED :])
    try:
        _path().parent.mkdir(parents=True, exist_ok=True)
        atomic_write(_path(), json.dumps({**latest, _key(): record}, indent=1).encode())
    except (OSError, OssctlError):
        return
