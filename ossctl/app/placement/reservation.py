"""Ask llama.cpp what it would reserve for a plan: `python -P -m ossctl.app.placement.reservation FILE JSON`.

With `no_alloc`, llama.cpp reads the header and reserves its graphs without weights, in about a second, for
every architecture that it knows. An assertion that fails there ends the process, so it is another one.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from ossctl.app.placement.runtime_options import context_options, model_options
from ossctl.errors import OssctlError
from ossctl.planning.machine import MIB
from ossctl.planning.memory import DeviceUse
from ossctl.planning.plan import Plan
from ossctl.planning.settings import Settings

_log = logging.getLogger(__name__)

_SECONDS = 20  # of patience; a large model takes less than one


def reserved(path: Path, settings: Settings) -> Mapping[str, int]:
    """Bytes of llama.cpp's compute buffer on each device of `settings`; {} if it does not answer."""
    command = [sys.executable, "-P", "-m", __name__, str(path), msgspec.json.encode(settings).decode()]
    try:
        done = subprocess.run(  # noqa: S603
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=True
        )
        found: dict[str, int] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        _log.info("llama.cpp was not asked about the plan: %s", error)
        return {}
    return found if set(settings.devices) <= found.keys() else {}


def plan_by_reservation(
    make: Callable[[int], Plan], reserve: Callable[[Settings], Mapping[str, int]], less: int
) -> Plan:
    """The best plan that fits by what llama.cpp would reserve, if it uses a device.

    `make` plans with that many bytes less memory on each device; `less` is the first argument to try.
    """
    while True:
        plan = make(less)
        checked = with_reserved(plan, reserve(plan.settings)) if plan.devices else plan
        if checked.headroom >= 0 or checked.headroom >= plan.headroom:
            return checked
        _log.info("llama.cpp would need %d MiB more than is free", -checked.headroom // MIB)
        less -= checked.headroom


def with_reserved(plan: Plan, compute: Mapping[str, int]) -> Plan:
    """`plan` with these bytes of compute buffers in its prediction, by the device's name."""

    def corrected(name: str, use: DeviceUse) -> DeviceUse:
        n_bytes = compute.get(name, use.compute)
        _log.info("%s: compute planned %d MiB, llama.cpp %d MiB", name, use.compute // MIB, n_bytes // MIB)
        return replace(use, compute=n_bytes)

    uses = zip(plan.settings.devices, plan.prediction.devices, strict=True)
    devices = tuple(corrected(name, use) for name, use in uses)
    return replace(plan, prediction=replace(plan.prediction, devices=devices))


def _reserve(path: Path, settings: Settings) -> dict[str, int]:
    from ossctl.runtime.context import LlamaRunner
    from ossctl.runtime.model import LlamaModel

    model = LlamaModel(path, model_options(settings, only_reserve=True))
    runner = LlamaRunner(model, context_options(settings))
    return {
        buffer.partition("[")[0]: n_bytes
        for (buffer, purpose), n_bytes in runner.buffers.items()
        if purpose == "compute"
    }


def main() -> None:
    """Write bytes by the buffer's name as a JSON object. Exits with 1 and a reason on stderr."""
    from ossctl.runtime.crash import crash_reporter

    crash_reporter().stand_aside()
    path, settings = sys.argv[1:]
    try:
        found = _reserve(Path(path), msgspec.json.decode(settings, type=Settings))
    except (OssctlError, ValueError) as error:
        sys.exit(str(error))
    sys.stdout.write(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # nothing needs to be freed


if __name__ == "__main__":
    main()
