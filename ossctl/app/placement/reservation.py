"""Ask llama.cpp what it would reserve for a plan: `python -P -m ossctl.app.placement.reservation FILE JSON`.

With `no_alloc`, llama.cpp reads the header and reserves its graphs without weights, in about a second, for
every architecture that it knows. An assertion that fails there ends the process, so it is another one.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from ossctl.app.placement.buffers import RAM, by_device
from ossctl.app.placement.runtime_options import context_options, model_options
from ossctl.errors import OssctlError
from ossctl.planning.machine import MIB
from ossctl.planning.memory import DeviceUse, Prediction, logits_bytes
from ossctl.planning.plan import Plan
from ossctl.planning.settings import Settings

_log = logging.getLogger(__name__)

_SECONDS = 20  # of patience; a large model takes less than one


def reserved(
    path: Path, settings: Settings, say: Callable[[str], None] = _log.info
) -> Mapping[str, DeviceUse]:
    """What llama.cpp would reserve on each device of `settings` and in RAM, but for the rows of logits.

    Weights and cache are 0 where it does not tell them. If it does not answer, `say` is called with the
    reason, and the result is empty.
    """
    command = [sys.executable, "-P", "-m", __name__, str(path), msgspec.json.encode(settings).decode()]
    try:
        done = subprocess.run(  # noqa: S603
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=True
        )
        found = by_device(settings.devices, msgspec.json.decode(done.stdout, type=dict[str, list[int]]))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        say(f"cannot ask llama.cpp what it would reserve: {_reason(error)}")
        return {}
    return found


def _reason(error: Exception) -> str:
    """Why the process has no answer: its last line, unless it was killed."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it took more than {_SECONDS} seconds"
    if not isinstance(error, subprocess.CalledProcessError):
        return str(error)
    lines = error.stderr.strip().splitlines() if error.returncode > 0 else []
    return lines[-1] if lines else "it crashed"


def plan_by_reservation(
    make: Callable[[int], Plan], reserve: Callable[[Settings], Mapping[str, DeviceUse]], less: int
) -> Plan:
    """The best plan that fits on its devices by what llama.cpp would reserve.

    `make` plans with that many bytes less memory on each device; `less` is the first argument to try.
    """
    while True:
        plan = make(less)
        checked = with_reserved(plan, reserve(plan.settings))
        if not plan.devices or checked.headroom >= 0 or checked.headroom >= plan.headroom:
            return checked
        _log.info("llama.cpp would need %d MiB more than is free", -checked.headroom // MIB)
        less -= checked.headroom


def with_reserved(plan: Plan, found: Mapping[str, DeviceUse]) -> Plan:
    """`plan` with llama.cpp's own figures, as `reserved` gives them, in its prediction."""
    if not found:
        return plan

    def corrected(name: str, use: DeviceUse, more: int = 0) -> DeviceUse:
        own = found[name]
        compute = own.compute + more
        _log.info("%s: compute planned %d MiB, llama.cpp %d MiB", name, use.compute // MIB, compute // MIB)
        return replace(use, weights=own.weights or use.weights, kv=own.kv or use.kv, compute=compute)

    before, settings = plan.prediction, plan.settings
    uses = zip(settings.devices, before.devices, strict=True)
    host = corrected(RAM, before.host, logits_bytes(plan.shape, settings))
    if settings.repack:  # the file stays mapped beside the repacked copy
        host = replace(host, weights=before.host.weights)
    devices = tuple(corrected(name, use) for name, use in uses)
    whole = any(own.kv for own in found.values())
    return replace(plan, prediction=Prediction(devices, host, reserved=whole))


def _reserve(path: Path, settings: Settings) -> Mapping[str, Sequence[int]]:
    """Bytes of weights, cache and compute by the buffer's name."""
    from ossctl.runtime.context import LlamaRunner
    from ossctl.runtime.model import LlamaModel

    model = LlamaModel(path, model_options(settings, only_reserve=True))
    runner = LlamaRunner(model, context_options(settings))
    return runner.breakdown() or {
        buffer: (0, 0, n_bytes)
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
