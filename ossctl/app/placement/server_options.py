"""The settings of a plan as options of llama.cpp's own programs."""

from ossctl.app.placement.machine import this_machine
from ossctl.planning.machine import MIB
from ossctl.planning.settings import LoadMode, Settings


def server_options(settings: Settings, prompt_cache: int) -> list[str]:
    """Options that place a model and its context as planned; `prompt_cache` is in bytes.

    -lm is left out where it would be the default, because servers before July 2026 do not have it.
    """
    mapped = settings.load_mode is LoadMode.MMAP
    options = [
        "-c", str(settings.cells * settings.streams),
        "-np", str(settings.parallel),
        "-kvu" if settings.unified else "-no-kvu",
        "-b", str(settings.batch),
        "-ub", str(settings.ubatch),
        "-ctk", settings.kv_type.value,
        "-ctv", settings.kv_type.value,
        "-t", str(settings.threads),
        "-ngl", str(settings.gpu_layers),
        *placement_options(settings),
        "-fa", "on" if settings.flash_attention else "off",
        *(() if mapped else ("-lm", settings.load_mode.value)),
        "-fit", "off",
        "-cram", str(prompt_cache // MIB),
    ]  # fmt: skip
    return options if settings.repack else [*options, "-nr"]


def placement_options(settings: Settings, separator: str = ",") -> list[str]:
    """Options for the devices and what each holds. `separator` is between items: llama-bench takes "/"."""
    devices, in_ram = settings.devices, settings.experts_in_ram
    if not devices:
        return ["-dev", "none"]
    options = []
    if set(devices) <= {device.name for device in this_machine().devices}:
        options += ["-dev", separator.join(devices)]
    if len(devices) > 1:
        options += ["-ts", separator.join(map(str, settings.device_layers))]
    if in_ram and in_ram == tuple(range(len(in_ram))):
        options += ["-ncmoe", str(len(in_ram))]
    elif in_ram:
        from ossctl.runtime.model import experts_pattern  # imports llama.cpp

        options += ["-ot", f"{experts_pattern(in_ram)}=CPU"]
    return options
