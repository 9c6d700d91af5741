"""The llama-server command line for a plan."""

from ossctl.app.library.resolve import hub_reference, locate
from ossctl.app.placement.machine import this_machine
from ossctl.app.plan.memory import memory_rows
from ossctl.errors import ModelError
from ossctl.planning.machine import GIB, MIB, ram_margin
from ossctl.planning.plan import Plan
from ossctl.planning.settings import LoadMode, Settings

_PROMPT_CACHE = 8 * GIB  # llama-server's default for -cram


def llama_arguments(plan: Plan, model: str) -> list[str]:
    """The llama-server command that places the model as planned.

    -lm is left out where it would be the default, because servers before July 2026 do not have it.
    """
    settings = plan.settings
    mapped = settings.load_mode is LoadMode.MMAP
    arguments = [
        "llama-server", *_source_arguments(model),
        "-c", str(settings.cells * settings.streams),
        "-np", str(settings.parallel),
        "-kvu" if settings.unified else "-no-kvu",
        "-b", str(settings.batch),
        "-ub", str(settings.ubatch),
        "-ctk", settings.kv_type.value,
        "-ctv", settings.kv_type.value,
        "-t", str(settings.threads),
        "-ngl", str(settings.gpu_layers),
        *_placement_arguments(settings),
        "-fa", "on" if settings.flash_attention else "off",
        *(() if mapped else ("-lm", settings.load_mode.value)),
        "-fit", "off",
        "-cram", str(_prompt_cache(plan) // MIB),
    ]  # fmt: skip
    return arguments if settings.repack else [*arguments, "-nr"]


def _prompt_cache(plan: Plan) -> int:
    """Bytes of RAM for llama-server's cache of old prompts: what is left, up to its default."""
    *_, (_, _, free, use) = memory_rows(plan)
    return min(_PROMPT_CACHE, max(0, free - use.total - ram_margin(plan.machine)))


def _source_arguments(model: str) -> list[str]:
    try:
        return ["-m", str(locate(model).first)]
    except ModelError:
        reference = hub_reference(model)
    if reference.selector.endswith(".gguf"):
        return ["-hf", reference.repo, "-hff", reference.selector]
    return ["-hf", f"{reference.repo}:{reference.selector}".rstrip(":")]


def _placement_arguments(settings: Settings) -> list[str]:
    devices, in_ram = settings.devices, settings.experts_in_ram
    if not devices:
        return ["-dev", "none"]
    arguments = []
    if set(devices) <= {device.name for device in this_machine().devices}:
        arguments += ["-dev", ",".join(devices)]
    if len(devices) > 1:
        arguments += ["-ts", ",".join(map(str, settings.device_layers))]
    if in_ram and in_ram == tuple(range(len(in_ram))):
        arguments += ["-ncmoe", str(len(in_ram))]
    elif in_ram:
        from ossctl.runtime.model import experts_pattern  # imports llama.cpp

        arguments += ["-ot", f"{experts_pattern(in_ram)}=CPU"]
    return arguments
