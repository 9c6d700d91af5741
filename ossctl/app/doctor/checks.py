"""`ossctl doctor`: what this installation can do, and what to do about what it cannot."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path

from ossctl.app.library.inventory import Listing, list_models
from ossctl.app.library.resolve import NANO, has_nano, locate
from ossctl.app.placement.kernel_trial import remember_kernels, try_kernels
from ossctl.app.placement.machine import this_machine
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
from ossctl.build.wheels import origin_of
from ossctl.data import DATA
from ossctl.errors import OssctlError
from ossctl.hub.cache import hub_cache
from ossctl.hub.catalogue import catalogue
from ossctl.hub.store import free_bytes
from ossctl.planning.machine import GIB, Machine, shown_bytes
from ossctl.settings import Paths

_FEATURES = ("AVX", "AVX2", "AVX512", "AVX_VNNI", "AMX_INT8", "FMA", "F16C", "NEON", "SVE", "MATMUL_INT8")
_EXTENSIONS = {"AMX_INT8": "amx_int8", "AVX512": "avx512f", "AVX2": "avx2", "AVX": "avx"}  # Linux's names
_BACKENDS = {"cuda": "CUDA", "rocm": "ROCm", "vulkan": "Vulkan", "metal": "MTL"}
_LITTLE_RAM = 4 * GIB


class Severity(StrEnum):
    """Fine, worth knowing, or to be fixed."""

    OK = "ok"
    NOTE = "note"
    FIX = "fix"


@dataclass(frozen=True)
class Check:
    """One finding; `fix` says what to do, if something is."""

    name: str
    state: Severity
    message: str
    fix: str = ""


def examine(model: Path | None) -> Iterator[Check]:
    """All checks, as they are made. `model` is for the self-test; None is the smallest at hand."""
    machine = this_machine()
    yield from _build()
    yield from _devices(machine)
    yield from _memory(machine)
    yield from _disk()
    listings = list_models()
    yield from _models(listings)
    yield from _settings()
    try:
        path = model or _at_hand(listings)
    except OssctlError as error:  # OSSCTL_MODEL names none
        yield Check("self-test", Severity.FIX, error.message, error.hint)
        path = None
    yield from _kernels(path)
    yield from _self_test(machine, path)


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
    yield Check("build", Severity.OK, _maker(library))
    missing = _unused_instructions(sets)
    if missing:
        yield Check("build", Severity.FIX, f"this CPU has {missing}, the build does not use it", _rebuild())


def _maker(library: Path) -> str:
    """Who compiled it, with what and when, as far as that can be told."""
    from ossctl.runtime.library import compiler

    origin = origin_of(library)
    if origin is None:
        by = compiler(library) or "a compiler that it does not name"
        return f"compiled by {by}, in a way that is not known here, in {library.parent}"
    flags = " ".join(origin.recipe.flags) or "no special flags"
    return f"compiled by {origin.recipe.compiler} with {flags}, by ossctl.build on {origin.date}"


def _rebuild() -> str:
    """The command that builds llama.cpp for the same kinds of device again."""
    from ossctl.runtime.devices import backends

    return command(*(name for name, kind in _BACKENDS.items() if kind in backends()))


def _unused_instructions(sets: list[str]) -> str:
    """The largest extension that matters, if the CPU has it and the build does not."""
    has = processor().lower().split()
    return next((name for name, flag in _EXTENSIONS.items() if flag in has and name not in sets), "")


def _kernels(model: Path | None) -> Iterator[Check]:
    """Whether the faster kernels are right, and what they are worth on `model`."""
    trial = try_kernels()
    remember_kernels(trial)
    if CPU in trial.problems:
        problem = f"llama.cpp does not work here: {trial.problems[CPU]}"
        yield Check("kernels", Severity.FIX, problem, _rebuild())
        return
    places = (CPU, CPU_EXTRA) if trial.extra_kernels else (CPU,)
    speeds = [found for found in generate_on(model, *places) if isinstance(found, ProbeRun)] if model else []
    worth = " with them, ".join(f"{each.prompt_speed:,.0f} tokens/s" for each in reversed(speeds))
    worth = f"; prompts of {model.name}: {worth} without" if model and speeds else ""
    if trial.extra_kernels:
        yield Check("kernels", Severity.OK, f"the faster ones compute as the plain ones do{worth}")
    else:
        problem = f"the faster ones are left out: in a trial {trial.problems[CPU_EXTRA]}{worth}"
        yield Check("kernels", Severity.FIX, problem, _rebuild())


def _devices(machine: Machine) -> Iterator[Check]:
    for device in machine.devices:
        memory = f"{shown_bytes(device.free)} of {shown_bytes(device.total)} free"
        yield Check("device", Severity.OK, f"{device.name}, {device.description}: {memory}")
    for gpu in machine.unusable:
        yield Check("device", Severity.FIX, gpu.unused, gpu.fix)
    if not machine.devices and not machine.unusable:
        yield Check("device", Severity.NOTE, "no GPU: models run on the CPU")
    cores = f"{machine.cores} core{'s' if machine.cores > 1 else ''}"
    yield Check("device", Severity.OK, f"CPU: {cores} that this process may use")


def _memory(machine: Machine) -> Iterator[Check]:
    text = f"{shown_bytes(machine.ram_free)} of {shown_bytes(machine.ram_total)} RAM can be had"
    if machine.ram_free < _LITTLE_RAM:
        yield Check(
            "memory", Severity.FIX, text, "Close what needs memory; gpt-oss-20b takes 12 GiB without a GPU."
        )
    else:
        yield Check("memory", Severity.OK, text)


def _disk() -> Iterator[Check]:
    free, needed = free_bytes(hub_cache()), int(catalogue().entry("20b").variant.gigabytes * 1e9)
    text = f"{shown_bytes(free)} free where models are kept, {hub_cache()}"
    if free < needed:
        fix = f"gpt-oss-20b takes {shown_bytes(needed)}: make room, or set HF_HOME to a larger disk."
        yield Check("disk", Severity.FIX, text, fix)
    else:
        yield Check("disk", Severity.OK, text)


def _models(listings: list[Listing]) -> Iterator[Check]:
    usable = [listing.model for listing in listings if not listing.problem]
    if usable:
        size = sum(model.n_bytes for model in usable)
        yield Check(
            "models",
            Severity.OK,
            f"{len(usable)} model{'s' if len(usable) > 1 else ''} here, {shown_bytes(size)}: `ossctl ls`",
        )
    else:
        yield Check("models", Severity.NOTE, "no model here yet: `ossctl ls -a` lists what can be fetched")
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
        yield Check("settings", Severity.OK, f"logs and corrections in {state}")
    else:
        yield Check(
            "settings", Severity.FIX, f"{folder} cannot be written", "Set OSSCTL_HOME to a folder of yours."
        )


def _self_test(machine: Machine, model: Path | None) -> Iterator[Check]:
    """What gpt-oss computes (experts, sinks, windows), and `model`, on every device and on the CPU."""
    probe = DATA / "probe.gguf"
    for path in filter(None, (probe, model)):
        (on_cpu,) = generate_on(path, CPU)
        if isinstance(on_cpu, ProbeFailure):
            fix = "Try another model with -m."
            yield Check("self-test", Severity.FIX, f"{path.name} on the CPU: {on_cpu.reason}", fix)
            continue
        if path is not probe:
            yield Check("self-test", Severity.OK, f"{path.name} on the CPU: {on_cpu.speed:,.0f} tokens/s")
        for device in machine.devices:
            yield _on_device(path, device.name, on_cpu)
    if model is None:
        yield Check("self-test", Severity.NOTE, "no model is at hand to be tried: name one with -m")


def _at_hand(listings: list[Listing]) -> Path | None:
    """What OSSCTL_MODEL says, or the smallest model here, or nano. Raises ModelError, UsageError."""
    given = os.environ.get("OSSCTL_MODEL")
    if given:
        return locate(given).first
    usable = [listing.model for listing in listings if listing.shape is not None]
    if usable:
        return min(usable, key=lambda model: model.n_bytes).first
    return locate(NANO).first if has_nano() else None


def _on_device(path: Path, name: str, on_cpu: ProbeRun) -> Check:
    (found,) = generate_on(path, name)
    if isinstance(found, ProbeFailure):
        fix = "Leave it out with --device, or update its driver."
        return Check("self-test", Severity.FIX, f"{path.name} on {name}: {found.reason}", fix)
    share = difference(on_cpu, found)
    text = f"{path.name} on {name}: {found.speed:,.0f} tokens/s, logits within {share:.2%} of the CPU's"
    if is_wrong(share):
        return Check(
            "self-test",
            Severity.FIX,
            text,
            "It computes wrongly: leave it out with --device, update its driver.",
        )
    return Check("self-test", Severity.OK, text)
