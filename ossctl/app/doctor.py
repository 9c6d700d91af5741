"""`ossctl doctor`: what this installation can do, and what to do about what it cannot."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path

from ossctl.app.library import Listing, list_models
from ossctl.app.machine import this_machine
from ossctl.app.models import NANO, has_nano, locate
from ossctl.app.self_test import Failure, Generation, difference, generate_on, is_wrong
from ossctl.errors import OssctlError
from ossctl.models.cache import hub_cache
from ossctl.models.catalogue import catalogue
from ossctl.models.store import free_bytes
from ossctl.planning.machine import GIB, Machine, shown_bytes
from ossctl.settings import Paths

_FEATURES = ("AVX", "AVX2", "AVX512", "AVX_VNNI", "AMX_INT8", "FMA", "F16C", "NEON", "SVE", "MATMUL_INT8")
_LITTLE_RAM = 4 * GIB


class State(StrEnum):
    """Fine, worth knowing, or to be fixed."""

    OK = "ok"
    NOTE = "note"
    FIX = "fix"


@dataclass(frozen=True)
class Check:
    """One finding; `fix` says what to do, if something is."""

    name: str
    state: State
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
    yield from _self_test(machine, model, listings)


def _build() -> Iterator[Check]:
    from ossctl.runtime.devices import backends, system_info

    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Check(
        "program",
        State.OK,
        f"ossctl {version('ossctl')}, llama-cpp-python {version('llama-cpp-python')}, {python}",
    )
    info = system_info()
    sets = [name for name in _FEATURES if f" {name} = 1" in f" {info}"]
    yield Check(
        "build", State.OK, f"llama.cpp for {', '.join(backends())}; CPU: {', '.join(sets) or 'no extensions'}"
    )
    missing = _unused_instructions(sets)
    if missing:
        fix = "CMAKE_ARGS=-DGGML_NATIVE=on pip install --force-reinstall --no-cache-dir llama-cpp-python"
        yield Check("build", State.FIX, f"this CPU has {missing}, the build does not use it", fix)


def _unused_instructions(sets: list[str]) -> str:
    """AVX2 or AVX, if the CPU has it and the build does not."""
    try:
        flags = (
            Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("flags")[2].partition("\n")[0].split()
        )
    except OSError:
        return ""
    return next((name for name in ("AVX2", "AVX") if name.lower() in flags and name not in sets), "")


def _devices(machine: Machine) -> Iterator[Check]:
    for device in machine.devices:
        memory = f"{shown_bytes(device.free)} of {shown_bytes(device.total)} free"
        yield Check("device", State.OK, f"{device.name}, {device.description}: {memory}")
    for gpu in machine.unusable:
        yield Check("device", State.FIX, f"an {gpu.description} is not used", gpu.fix)
    if not machine.devices and not machine.unusable:
        yield Check("device", State.NOTE, "no GPU: models run on the CPU")
    cores = f"{machine.cores} core{'s' if machine.cores > 1 else ''}"
    yield Check("device", State.OK, f"CPU: {cores} that this process may use")


def _memory(machine: Machine) -> Iterator[Check]:
    text = f"{shown_bytes(machine.ram_free)} of {shown_bytes(machine.ram_total)} RAM can be had"
    if machine.ram_free < _LITTLE_RAM:
        yield Check(
            "memory", State.FIX, text, "Close what needs memory; gpt-oss-20b takes 12 GiB without a GPU."
        )
    else:
        yield Check("memory", State.OK, text)


def _disk() -> Iterator[Check]:
    free, needed = free_bytes(hub_cache()), int(catalogue().entry("20b").variant.gigabytes * 1e9)
    text = f"{shown_bytes(free)} free where models are kept, {hub_cache()}"
    if free < needed:
        fix = f"gpt-oss-20b takes {shown_bytes(needed)}: make room, or set HF_HOME to a larger disk."
        yield Check("disk", State.FIX, text, fix)
    else:
        yield Check("disk", State.OK, text)


def _models(listings: list[Listing]) -> Iterator[Check]:
    usable = [listing.model for listing in listings if not listing.problem]
    if usable:
        size = sum(model.n_bytes for model in usable)
        yield Check(
            "models",
            State.OK,
            f"{len(usable)} model{'s' if len(usable) > 1 else ''} here, {shown_bytes(size)}: `ossctl ls`",
        )
    else:
        yield Check("models", State.NOTE, "no model here yet: `ossctl ls -a` lists what can be fetched")
    for name, problem in ((each.model.name, each.problem) for each in listings if each.damaged):
        fix = f"`ossctl rm {name}` deletes it, `ossctl pull {name}` fetches what is missing."
        yield Check("models", State.FIX, f"{name}: {problem}", fix)


def _settings() -> Iterator[Check]:
    given = sorted(name for name in os.environ if name.startswith("OSSCTL_"))
    visible = sorted(name for name in os.environ if name.endswith("_VISIBLE_DEVICES"))
    variables = ", ".join(f"{name}={os.environ[name]}" for name in (*given, *visible))
    yield Check("settings", State.OK, f"from the environment: {variables or 'none'}")
    state = Paths.from_environment().state
    folder = next(path for path in (state, *state.parents) if path.exists())
    if os.access(folder, os.W_OK):
        yield Check("settings", State.OK, f"logs and corrections in {state}")
    else:
        yield Check(
            "settings", State.FIX, f"{folder} cannot be written", "Set OSSCTL_HOME to a folder of yours."
        )


def _self_test(machine: Machine, model: Path | None, listings: list[Listing]) -> Iterator[Check]:
    try:
        path = model or _at_hand(listings)
    except OssctlError as error:  # OSSCTL_MODEL names none
        yield Check("self-test", State.FIX, error.message, error.hint)
        return
    if path is None:
        yield Check("self-test", State.NOTE, "left out, no model is at hand: name one with -m")
        return
    on_cpu = generate_on(path, "cpu")
    if isinstance(on_cpu, Failure):
        yield Check(
            "self-test", State.FIX, f"{path.name} on the CPU: {on_cpu.reason}", "Try another model with -m."
        )
        return
    yield Check("self-test", State.OK, f"{path.name} on the CPU: {on_cpu.speed:,.0f} tokens/s")
    for device in machine.devices:
        yield _on_device(path, device.name, on_cpu)


def _at_hand(listings: list[Listing]) -> Path | None:
    """What OSSCTL_MODEL says, or the smallest model here, or nano. Raises ModelError, UsageError."""
    given = os.environ.get("OSSCTL_MODEL")
    if given:
        return locate(given).first
    usable = [listing.model for listing in listings if listing.shape is not None]
    if usable:
        return min(usable, key=lambda model: model.n_bytes).first
    return locate(NANO).first if has_nano() else None


def _on_device(path: Path, name: str, on_cpu: Generation) -> Check:
    found = generate_on(path, name)
    if isinstance(found, Failure):
        fix = "Leave it out with --device, or update its driver."
        return Check("self-test", State.FIX, f"{path.name} on {name}: {found.reason}", fix)
    share = difference(on_cpu, found)
    text = f"{path.name} on {name}: {found.speed:,.0f} tokens/s, logits within {share:.2%} of the CPU's"
    if is_wrong(share):
        return Check(
            "self-test",
            State.FIX,
            text,
            "It computes wrongly: leave it out with --device, update its driver.",
        )
    return Check("self-test", State.OK, text)
