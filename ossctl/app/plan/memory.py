"""Where a plan puts bytes, and which memory limits its speed."""

from collections.abc import Iterator

from ossctl.planning.machine import format_bytes
from ossctl.planning.memory import DeviceUse
from ossctl.planning.plan import Plan


def memory_rows(plan: Plan) -> Iterator[tuple[str, int, int, DeviceUse]]:
    """(name, total bytes, free bytes, use) of every device in use and, last, of the RAM.

    What devices that share the RAM use of it does not count as free there.
    """
    ram_free = plan.machine.ram_free
    for device, use in zip(plan.devices, plan.prediction.devices, strict=True):
        yield device.name, device.total, device.free, use
        ram_free -= device.ram_share(use.total)
    yield "RAM", plan.machine.ram_total, ram_free, plan.prediction.host


def bottleneck(plan: Plan) -> str:
    """The memory whose bandwidth limits generation, with the bytes of weights that every token reads."""
    shape, settings = plan.shape, plan.settings
    from_ram = _bytes_from_ram(plan)
    if not from_ram:
        return f"GPU memory bandwidth: every token reads {format_bytes(shape.active_bytes)} of weights"
    rest = format_bytes(shape.active_bytes - from_ram)
    gpu = f" and {rest} from GPU memory" if settings.devices else ""
    return f"RAM bandwidth: every token reads {format_bytes(from_ram)} of weights from RAM{gpu}"


def _bytes_from_ram(plan: Plan) -> int:
    shape, settings = plan.shape, plan.settings
    used = shape.n_expert_used / shape.n_expert if shape.n_expert else 0.0
    on_cpu = min(shape.n_layers + 1 - settings.gpu_layers, shape.n_layers)
    experts = sum(int(shape.layers[n].expert_bytes * used) for n in settings.experts_in_ram)
    dense = sum(layer.dense_bytes for layer in shape.layers[:on_cpu])
    return experts + dense + (0 if settings.gpu_layers else shape.output_bytes)
