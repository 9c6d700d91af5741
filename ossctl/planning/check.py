"""Check overrides against the model and the machine, for contradictions that no amount of memory resolves."""

from collections.abc import Sequence

from ossctl.errors import UsageError
from ossctl.planning.machine import Device, Machine
from ossctl.planning.shape import KvType, ModelShape
from ossctl.planning.workload import Overrides


def select_devices(machine: Machine, overrides: Overrides) -> tuple[Device, ...]:
    """The devices that `overrides` allow, in llama.cpp's order. Raises UsageError for an unknown one."""
    if overrides.devices is None:
        return machine.devices if overrides.gpu_layers != 0 else ()
    by_name = {device.name.lower(): device for device in machine.devices}
    unusable = {gpu.name.lower(): gpu.fix for gpu in machine.unusable}
    for name in overrides.devices:
        if name.lower() in unusable:
            raise UsageError(f"{name} is not used", unusable[name.lower()])
        if name.lower() not in by_name:
            known = ", ".join(device.name for device in machine.devices)
            raise UsageError(
                f"--device: there is no device {name}",
                f"Available: {known}." if known else "llama.cpp finds no GPU here; use `--device cpu`.",
            )
    names = [name.lower() for name in overrides.devices] if overrides.gpu_layers != 0 else []
    return tuple(device for device in machine.devices if device.name.lower() in names)


def check_overrides(shape: ModelShape, overrides: Overrides, devices: Sequence[Device]) -> None:
    """Raise UsageError if `overrides` contradict each other, the model or the devices."""
    if overrides.ctx is not None and overrides.ctx > shape.n_ctx_train:
        raise UsageError(
            f"--ctx {overrides.ctx:,} is more than the {shape.n_ctx_train:,} that {shape.name} supports",
            f"`--ctx max` is {shape.n_ctx_train:,}.",
        )
    if overrides.gpu_layers and overrides.devices == ():
        raise UsageError(
            f"--gpu-layers {overrides.gpu_layers} and --device cpu cannot be combined",
            "Omit one of the two.",
        )
    if overrides.gpu_layers and not devices:
        raise UsageError(
            f"--gpu-layers {overrides.gpu_layers} needs a GPU, but llama.cpp finds none",
            "`ossctl doctor` shows why.",
        )
    if overrides.cpu_moe is not None:
        _check_cpu_moe(shape, overrides.cpu_moe, overrides.gpu_layers, devices)
    widths = [width for layer in shape.layers for width in (layer.k_width, layer.v_width)]
    if overrides.kv_type is KvType.Q8_0 and any(width % 32 for width in widths):
        raise UsageError(f"--kv q8_0 needs head sizes that are multiples of 32; {shape.name} has others")


def _check_cpu_moe(
    shape: ModelShape, cpu_moe: int, gpu_layers: int | None, devices: Sequence[Device]
) -> None:
    if not shape.expert_layers:
        raise UsageError(f"--cpu-moe is for mixture-of-experts models; {shape.name} is dense")
    if not devices:
        raise UsageError("--cpu-moe needs a GPU: without one, all experts are in RAM")
    n_layers = shape.n_layers
    on_cpu = 0 if gpu_layers is None else n_layers - min(gpu_layers, n_layers + 1) + 1
    if cpu_moe < on_cpu:
        raise UsageError(
            f"--gpu-layers {gpu_layers} keeps {on_cpu} layers with their experts in RAM, "
            f"which is more than --cpu-moe {cpu_moe}",
            "Omit one of the two.",
        )
