"""A trial of llama.cpp's kernels, once per build, processor and set of devices.

A bad compiler, driver or prebuilt wheel can make kernels crash or compute nonsense: those of a device, or the
CPU's optimised kernels, which need weights in buffers of their own (AMX tiles, repacked layouts). So before
the first load, a small model with matrices of every type that has such kernels runs on each target in another
process. Targets that disagree with the CPU's plain kernels are not used, and the user is warned.
"""

import datetime as dt
import functools
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ossctl.app.local_date import local_date
from ossctl.app.placement.self_test import (
    CPU,
    CPU_EXTRA,
    ProbeFailure,
    ProbeRun,
    difference,
    is_wrong,
    probe,
)
from ossctl.app.placement.state_file import read_state, write_state
from ossctl.build import rebuild_command
from ossctl.build.recipe import processor
from ossctl.data import DATA
from ossctl.errors import OssctlError
from ossctl.planning.attention import USUAL_COSTS, AttentionCosts
from ossctl.settings import Paths

_log = logging.getLogger(__name__)

_SECONDS = 60  # per target; some drivers compile shaders the first time
_MAX_RECORDS = 16
_BUSY = 3  # times as slow with all threads as with one, which have to wait for other programs


@dataclass(frozen=True)
class Trial:
    """What is wrong with each target in `problems`, and why each target in `untested` was not tested.

    `attention` is the cost of attention on this CPU, or USUAL_COSTS if that could not be measured. `tested`
    is the date, None if there was no trial.
    """

    problems: Mapping[str, str] = field(default_factory=dict)
    attention: AttentionCosts = USUAL_COSTS
    tested: dt.date | None = None
    untested: Mapping[str, str] = field(default_factory=dict)

    @property
    def extra_kernels(self) -> bool:
        """Whether the optimised CPU kernels can be used."""
        return CPU_EXTRA not in self.problems

    @property
    def remark(self) -> str:
        """A warning for the user if the optimised kernels are disabled, else ""."""
        if self.extra_kernels:
            return ""
        return (
            f"llama.cpp's optimised CPU kernels failed a self-test: {self.problems[CPU_EXTRA]}. They are "
            f"disabled, so prefill is slower. To rebuild llama.cpp, run {rebuild_command()}"
        )

    @property
    def is_due(self) -> bool:
        """Whether to test again, because a failure or a busy CPU of another day may have been temporary."""
        return (bool(self.problems) or self.attention == USUAL_COSTS) and self.tested != local_date()


def current_trial() -> Trial:
    """The trial for this build and machine, run now if it is due.

    Raises OssctlError if even the plain kernels fail.
    """
    trial = _load(_key())
    if trial is None or trial.is_due:
        trial = run_trial()
    if CPU in trial.problems:
        raise OssctlError(
            f"this build of llama.cpp does not work on this machine: {trial.problems[CPU]}",
            f"It may be for another processor. To rebuild it, run {rebuild_command()}",
        )
    return trial


def cached_trial() -> Trial:
    """The last trial for this build and machine, or an empty one."""
    return _load(_key()) or Trial()


def run_trial() -> Trial:
    """Test every target now, and store the trial if none is left untested."""
    runs = probe(DATA / "probe.gguf", CPU, CPU_EXTRA, *_devices(), seconds=_SECONDS)
    problems = dict(_problems(runs))
    untested = dict(_untested(runs, problems))
    for target, reason in untested.items():
        _log.warning("%s was not tested: %s", target, reason)
    attention = USUAL_COSTS if CPU in problems else _measured_attention()
    trial = Trial(problems, attention, local_date(), untested)
    if not untested:
        _store(trial)
    return trial


def _measured_attention() -> AttentionCosts:
    from ossctl.runtime.attention import attention_seconds
    from ossctl.runtime.host import physical_cores

    cores = physical_cores()
    prefill, decode = 64, 1  # tokens at once
    costs = AttentionCosts(
        prefill_flash=attention_seconds(prefill, cores, flash=True),
        prefill_plain=attention_seconds(prefill, cores, flash=False),
        decode_flash=attention_seconds(decode, cores, flash=True),
        decode_plain=attention_seconds(decode, cores, flash=False),
    )
    is_busy = costs.decode_plain > _BUSY * attention_seconds(decode, 1, flash=False)
    return USUAL_COSTS if is_busy else costs


def _problems(runs: Mapping[str, ProbeRun | ProbeFailure]) -> Iterator[tuple[str, str]]:
    """(target, problem) of each target that failed by itself, not for lack of memory."""
    plain = runs[CPU]
    for target, run in runs.items():
        if isinstance(run, ProbeFailure):
            if run.crashed or (run.hung and isinstance(plain, ProbeRun)):
                yield target, run.reason
        elif isinstance(plain, ProbeRun) and is_wrong(share := difference(plain, run)):
            yield target, f"its logits are off by {share:.0%} of their range"


def _untested(
    runs: Mapping[str, ProbeRun | ProbeFailure], problems: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """(target, reason) of each target that may work or not."""
    plain = runs[CPU]
    for target, run in runs.items():
        if isinstance(run, ProbeFailure) and target not in problems:
            yield target, run.reason
        elif isinstance(plain, ProbeFailure) and target != CPU and CPU not in problems:
            yield target, f"there is nothing to compare with: {plain.reason}"


def _devices() -> dict[str, str]:
    """Names and descriptions of the devices that llama.cpp would offload layers to."""
    from ossctl.runtime.devices import list_devices, placeable

    return {device.name: device.description for device in placeable(list_devices())}


def _key() -> str:
    """A hash of the build, the processor and the devices."""
    parts = json.dumps([_fingerprint(), processor(), _devices()])
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


@functools.cache
def _fingerprint() -> str:
    from ossctl.runtime.library import fingerprint

    return fingerprint()


def _path() -> Path:
    return Paths.from_environment().state / "kernels.json"


def _load(key: str) -> Trial | None:
    try:
        record = read_state(_path())[key]
        costs, tested = AttentionCosts(**record["attention"]), dt.date.fromisoformat(record["tested"])
        return Trial(dict(record["problems"]), costs, tested)
    except (KeyError, TypeError, ValueError):
        return None


def _store(trial: Trial) -> None:
    record = {
        "problems": dict(trial.problems),
        "attention": asdict(trial.attention),
        "tested": str(trial.tested),
    }
    others = {key: other for key, other in read_state(_path()).items() if key != _key()}
    latest = dict(list(others.items())[1 - _MAX_RECORDS :])
    write_state(_path(), {**latest, _key(): record})
