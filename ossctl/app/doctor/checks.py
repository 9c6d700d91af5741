"""Check the build of llama.cpp, devices, memory, disk, models and settings, with fixes for problems."""

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path

from ossctl.app.library.inventory import Listing, list_models
from ossctl.app.library.resolve import NANO, has_nano, locate
from ossctl.app.placement.kernel_trial import Trial, run_trial
from ossctl.app.placement.machine import this_machine
from ossctl.app.placement.memory_corrections import Corrections
from ossctl.app.placement.self_test import (
    CPU,
    CPU_EXTRA,
    ProbeFailure,
    ProbeRun,
    difference,
    is_wrong,
    probe,
)
from ossctl.build import rebuild_command
from ossctl.build.recipe import processor
from ossctl.build.wheels import find_build
from ossctl.errors import OssctlError
from ossctl.hub.cache import hub_cache
from ossctl.hub.catalogue import catalogue
from ossctl.hub.store import free_bytes
from ossctl.planning.machine import GIB, Machine, format_bytes
from ossctl.settings import Paths

_FEATURES = ("AVX", "AVX2", "AVX512", "AVX_VNNI", "AMX_INT8", "FMA", "F16C", "NEON", "SVE", "MATMUL_INT8")
_EXTENSIONS = {"AMX_INT8": "amx_int8", "AVX512": "avx512f", "AVX2": "avx2", "AVX": "avx"}  # flags in Linux
_BACKENDS = {"cuda": "CUDA", "rocm": "ROCm", "vulkan": "Vulkan", "metal": "MTL"}
_MIN_RAM = 4 * GIB


class Severity(StrEnum):
    """Whether a check passed, has a note, or found something to fix."""

    OK = "ok"
    NOTE = "note"
    FIX = "fix"


@dataclass(frozen=True)
class Check:
    """The result of a check. `fix` says what to do about a problem."""

    name: str
    state: Severity
    message: str
    fix: str = ""


def examine(model: Path | None) -> Iterator[Check]:
    """Run all checks. `model` is used for the self-test, by default the smallest one on this machine."""
    trial = run_trial()
    machine = this_machine(trial)
    yield from _build()
    yield from _devices(machine)
    yield from _memory(machine)
    yield from _corrections()
    listings = list_models()
    yield from _disk(listings)
    yield from _models(listings)
    yield from _settings()
    if CPU in trial.problems:
        problem = f"llama.cpp does not work on this machine: {trial.problems[CPU]}"
        yield Check("kernels", Severity.FIX, problem, _rebuild())
        return
    try:
        path = model or _default_model(listings)
    except OssctlError as error:  # OSSCTL_MODEL is wrong
        yield Check("self-test", Severity.FIX, error.message, error.hint)
        path = None
    yield from _self_test(trial, machine, path)


def _build() -> Iterator[Check]:
    from ossctl.runtime.devices import backends, system_info
    from ossctl.runtime.library import cpu_library

    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Check(
        "program",
        Severity.OK,
        f"ossctl {version('ossctl')}, llama-cpp-python {version('llama-cpp-python')}, {python}",
    )
    info = system_info()
    sets = [name for name in _FEATURES if f" {name} = 1" in f" {info}"]
    yield Check(
        "build",
        Severity.OK,
        f"llama.cpp for {', '.join(backends())}; CPU: {', '.join(sets) or 'no extensions'}",
    )
    library = cpu_library()
    yield Check("build", Severity.OK, _compiled_by(library))
    if missing := _unused_extension(sets):
        build = find_build(library)
        on_purpose = build is not None and any(flag.startswith("-mno-") for flag in build.recipe.flags)
        text = f"this CPU has {missing}, which the build does not use"
        if on_purpose:
            yield Check("build", Severity.NOTE, f"{text}, because this compiler generates wrong code for it")
        else:
            yield Check("build", Severity.FIX, text, _rebuild())


def _compiled_by(library: Path) -> str:
    """Compiler, flags and date of a library, as far as they are known."""
    from ossctl.runtime.library import compiler

    build = find_build(library)
    if build is None:
        by = compiler(library) or "an unknown compiler"
        return f"compiled by {by}, not by ossctl.build, so its flags are unknown; in {library.parent}"
    flags = " ".join(build.recipe.flags) or "no special flags"
    return f"compiled by {build.recipe.compiler} with {flags}, by ossctl.build on {build.date}"


def _rebuild() -> str:
    """The command that rebuilds llama.cpp with the same backends."""
    from ossctl.runtime.devices import backends

    return rebuild_command(*(name for name, kind in _BACKENDS.items() if kind in backends()))


def _unused_extension(sets: list[str]) -> str:
    """The most important instruction set that the CPU has and the build does not use; "" if there is none."""
    flags = processor().lower().split()
    return next((name for name, flag in _EXTENSIONS.items() if flag in flags and name not in sets), "")


def _devices(machine: Machine) -> Iterator[Check]:
    for device in machine.devices:
        memory = f"{format_bytes(device.free)} of {format_bytes(device.total)} free"
        yield Check("device", Severity.OK, f"{device.name}, {device.description}: {memory}")
    for gpu in machine.unusable:
        yield Check("device", Severity.FIX, gpu.message, gpu.fix)
    if not machine.devices and not machine.unusable:
        yield Check("device", Severity.NOTE, "no GPU: models run on the CPU")
    cores = f"{machine.cores} core{'s' if machine.cores > 1 else ''}"
    yield Check("device", Severity.OK, f"CPU: {cores} available to this process")


def _memory(machine: Machine) -> Iterator[Check]:
    text = f"{format_bytes(machine.ram_free)} of {format_bytes(machine.ram_total)} RAM available"
    if machine.ram_free < _MIN_RAM:
        fix = "Close other programs; gpt-oss-20b needs 12 GiB without a GPU."
        yield Check("memory", Severity.FIX, text, fix)
    else:
        yield Check("memory", Severity.OK, text)


def _corrections() -> Iterator[Check]:
    for each in Corrections.saved().all():
        text = (
            f"plans for {each.model} leave {format_bytes(each.n_bytes)} unused, because loading it ran out "
            f"of memory on {each.date}"
        )
        fix = f"This expires on {each.ends}; `ossctl doctor --reset-corrections` undoes it now."
        yield Check("memory", Severity.NOTE, text, fix)


def _disk(listings: list[Listing]) -> Iterator[Check]:
    free, needed = free_bytes(hub_cache()), int(catalogue().entry("20b").variant.gigabytes * 1e9)
    text = f"{format_bytes(free)} free for models in {hub_cache()}"
    if free < needed:
        fix = f"gpt-oss-20b needs {format_bytes(needed)}: free some space, or set HF_HOME to a larger disk."
        usable = any(not listing.problem for listing in listings)  # a disk that is full of models is fine
        yield Check("disk", Severity.NOTE if usable else Severity.FIX, text, fix)
    else:
        yield Check("disk", Severity.OK, text)


def _models(listings: list[Listing]) -> Iterator[Check]:
    usable = [listing.model for listing in listings if not listing.problem]
    if usable:
        size = sum(model.n_bytes for model in usable)
        count = f"{len(usable)} model{'s' if len(usable) > 1 else ''} on this machine"
        yield Check("models", Severity.OK, f"{count}, {format_bytes(size)}: `ossctl ls`")
    else:
        text = "no model on this machine yet: `ossctl ls -a` lists those that can be pulled"
        yield Check("models", Severity.NOTE, text)
    for name, problem in ((each.model.name, each.problem) for each in listings if each.damaged):
        fix = f"`ossctl rm {name}` deletes it, `ossctl pull {name}` fetches what is missing."
        yield Check("models", Severity.FIX, f"{name}: {problem}", fix)


def _settings() -> Iterator[Check]:
    given = sorted(name for name in os.environ if name.startswith("OSSCTL_"))
    visible = sorted(name for name in os.environ if name.endswith("_VISIBLE_DEVICES"))
    variables = ", ".join(f"{name}={os.environ[name]}" for name in (*given, *visible))
    yield Check("settings", Severity.OK, f"from the environment: {variables or 'none'}")
    state = Paths.from_environment().state
    folder = next(path for path in (state, *state.parents) if path.exists())
    if os.access(folder, os.W_OK):
        yield Check("settings", Severity.OK, f"logs and corrections are in {state}")
    else:
        fix = "Set OSSCTL_HOME to a folder of yours."
        yield Check("settings", Severity.FIX, f"{folder} is not writable", fix)


def _self_test(trial: Trial, machine: Machine, model: Path | None) -> Iterator[Check]:
    """The results of the trial, and of generating with `model` on each target that has not failed it."""
    extra = (CPU_EXTRA,) if trial.extra_kernels else ()
    targets = (CPU, *extra, *(device.name for device in machine.devices))
    runs = probe(model, *targets) if model else {}
    yield _kernels(trial, model, runs)
    for device in machine.devices:
        if device.name in trial.untested:
            text = f"the kernels of {device.name} were not tested: {trial.untested[device.name]}"
            yield Check("kernels", Severity.NOTE, text)
        else:
            text = f"the kernels of {device.name} for gpt-oss match the CPU's"
            yield Check("kernels", Severity.OK, text)
    if model is None:
        yield Check("self-test", Severity.NOTE, "no model for a test: choose one with -m")
        return
    for target, run in runs.items():
        if target != CPU_EXTRA:
            yield _tested(model, target, run, runs[CPU])


def _kernels(trial: Trial, model: Path | None, runs: Mapping[str, ProbeRun | ProbeFailure]) -> Check:
    """Whether the optimised kernels work, with the speed of prefill of `model` with and without them."""
    speeds = {target: run.prompt_speed for target, run in runs.items() if isinstance(run, ProbeRun)}
    known = [
        f"{speeds[target]:,.0f} tokens/s {how}"
        for target, how in ((CPU_EXTRA, "with them"), (CPU, "without"))
        if target in speeds
    ]
    prefill = f"; prefill of {model.name}: {', '.join(known)}" if model and known else ""
    if CPU_EXTRA in trial.untested:
        text = f"the optimised CPU kernels were not tested: {trial.untested[CPU_EXTRA]}{prefill}"
        return Check("kernels", Severity.NOTE, text)
    if trial.extra_kernels:
        return Check("kernels", Severity.OK, f"the optimised CPU kernels match the plain ones{prefill}")
    problem = f"the optimised CPU kernels are disabled: {trial.problems[CPU_EXTRA]}{prefill}"
    return Check("kernels", Severity.FIX, problem, _rebuild())


def _default_model(listings: list[Listing]) -> Path | None:
    """OSSCTL_MODEL, or the smallest model on this machine, or nano. Raises ModelError and UsageError."""
    given = os.environ.get("OSSCTL_MODEL")
    if given:
        return locate(given).first
    usable = [listing.model for listing in listings if listing.shape is not None]
    if usable:
        return min(usable, key=lambda model: model.n_bytes).first
    return locate(NANO).first if has_nano() else None


def _tested(model: Path, target: str, run: ProbeRun | ProbeFailure, cpu: ProbeRun | ProbeFailure) -> Check:
    where = f"{model.name} on {'the CPU' if target == CPU else target}"
    fix = "Try another model with -m." if target == CPU else "Exclude it with --device, or update its driver."
    if isinstance(run, ProbeFailure):
        return Check("self-test", Severity.FIX, f"{where}: {run.reason}", fix)
    text = f"{where}: {run.speed:,.0f} tokens/s"
    if target == CPU or isinstance(cpu, ProbeFailure):
        return Check("self-test", Severity.OK, text)
    share = difference(cpu, run)
    text = f"{text}, logits within {share:.2%} of the CPU's"
    if is_wrong(share):
        return Check("self-test", Severity.FIX, text, fix)
    return Check("self-test", Severity.OK, text)
