"""A plan as text: a table of settings, and a chart of memory by purpose."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ossctl.cli.output import Output, columns
from ossctl.planning.machine import format_bytes

if TYPE_CHECKING:
    from ossctl.app.placement.fit import DoesNotFit, Fit
    from ossctl.app.placement.measured_speed import MeasuredSpeed
    from ossctl.app.plan.report import Report, Unplanned
    from ossctl.planning.plan import Plan

_NOISY = 0.05  # half of a speed's interval, as a share of the speed
_BAR = 44  # characters
_BLOCKS, _PLAIN = "█▓▒░·", "#=+-."  # weights, cache, compute, reserved, free


def describe_plan(report: "Report", plan: "Plan", out: Output) -> Iterator[str]:
    """The lines of `ossctl plan MODEL`."""
    from ossctl.app.plan.alternatives import alternatives
    from ossctl.app.plan.memory import bottleneck

    yield f"{plan.shape.name} ({format_bytes(plan.shape.file_bytes)}): {_where(plan)}"
    yield ""
    yield from _memory(plan, _BLOCKS if out.shows(_BLOCKS) else _PLAIN)
    yield ""
    yield from _settings(plan)
    yield ""
    yield f"Generation is limited by {bottleneck(plan)}."
    if report.speed is not None:
        noisy = " (the machine was noisy)" if (report.speed.noise or 0) > _NOISY else ""
        yield f"Measured here on {report.speed.date}: {_speed(report.speed)}{noisy}."
    yield from (f"{line[0].upper()}{line[1:]}." for line in _remarks(plan))
    yield from (f"{line[0].upper()}{line[1:]}." for line in alternatives(plan))
    for gpu in report.machine.unusable:
        yield f"{gpu.message}: {gpu.fix}"


def _speed(speed: "MeasuredSpeed") -> str:
    """The tokens per second that `ossctl bench` has measured."""
    parts = [
        f"{each.prefill:,.0f} tokens/s for a prompt of {each.tokens:,}, then {each.generation:,.1f} tokens/s"
        for each in speed.lengths[-1:]
    ]
    parts += [
        f"{each.generation:,.0f} tokens/s with {each.sequences} sequences" for each in speed.batches[-1:]
    ]
    return "; ".join(parts)


def compare(reports: "list[Report]", others: "list[Unplanned]") -> Iterator[str]:
    """The lines of `ossctl plan`: each model and how it would run."""
    from ossctl.planning.plan import Plan

    rows = [("model", "size", "on disk", "context", "placement")]
    for report in reports:
        outcome = report.fit
        size, here = format_bytes(outcome.shape.file_bytes), "yes" if report.here else "no"
        if isinstance(outcome, Plan):
            rows.append((report.model, size, here, f"{outcome.settings.ctx:,}", _where(outcome)))
        else:
            rows.append((report.model, size, here, "", _why_not(outcome)))
    for other in others:
        how = "too large" if other.too_large else f"`ossctl plan {other.model}` asks the hub"
        rows.append((other.model, format_bytes(int(other.gigabytes * 1e9)), "no", "", how))
    yield from columns(rows, right=(1, 3))
    yield ""
    yield "`ossctl plan MODEL` shows the details of one."


def in_one_line(outcome: "Fit") -> str:
    """How a model would run, or why it cannot."""
    from ossctl.planning.plan import Plan

    if isinstance(outcome, Plan):
        return f"{_where(outcome)}, with a context of {outcome.settings.ctx:,} tokens"
    return _why_not(outcome)


def _why_not(shortage: "DoesNotFit") -> str:
    from ossctl.errors import UsageError

    if isinstance(shortage.error, UsageError):
        return shortage.error.message
    return f"does not fit; it needs {format_bytes(shortage.required_ram)} of free RAM or a larger GPU"


def _where(plan: "Plan") -> str:
    """Where the model's layers are."""
    settings, shape = plan.settings, plan.shape
    if not settings.devices:
        return "on the CPU"
    gpus = "the GPU" if len(settings.devices) == 1 else f"{len(settings.devices)} GPUs"
    if plan.all_on_gpu:
        return f"all on {gpus}"
    layers = f"all layers on {gpus}"
    if settings.gpu_layers <= shape.n_layers:
        layers = f"{settings.gpu_layers} of {shape.n_layers + 1} layers on {gpus}"
    if not settings.experts_in_ram:
        return layers
    n_layers = len(settings.experts_in_ram)
    return f"{layers}, experts of {n_layers} {'layer' if n_layers == 1 else 'layers'} in RAM"


def _memory(plan: "Plan", symbols: str) -> Iterator[str]:
    from ossctl.app.plan.memory import memory_rows

    titles = [f"{name} {symbol}" for name, symbol in zip(
        ("weights", "cache", "compute", "reserved", "free"), symbols, strict=True
    )]  # fmt: skip
    rows = [("", "available", *titles)]
    bars = []
    descriptions = {device.name: device.description for device in plan.devices}
    for name, _, free, use in memory_rows(plan):
        amounts = (use.weights, use.kv, use.compute, use.overhead, max(0, free - use.total))
        label = f"{name} {descriptions.get(name, '')}".strip()
        rows.append((label, format_bytes(free), *map(format_bytes, amounts)))
        bars.append(_bar(amounts, symbols))
    heading, *lines = columns(rows, right=tuple(range(1, 7)))
    yield heading
    for line, bar in zip(lines, bars, strict=True):
        yield line
        yield f"  {bar}"


def _bar(amounts: tuple[int, ...], symbols: str) -> str:
    """`_BAR` characters in proportion to `amounts`, at least one for each that is not 0."""
    whole = sum(amounts) or 1
    widths = [max(amount > 0, round(amount / whole * _BAR)) for amount in amounts]
    widths[widths.index(max(widths))] += _BAR - sum(widths)
    return "".join(symbol * width for symbol, width in zip(symbols, widths, strict=True))


def _settings(plan: "Plan") -> Iterator[str]:
    settings = plan.settings
    shared = ", shared by all sequences" if settings.unified and settings.parallel > 1 else ""
    loading = "mapped from the file" if settings.load_mode.value == "mmap" else "read into memory"
    whole = plan.shape.n_layers + 1
    full = ", the model's maximum" if settings.ctx == plan.shape.n_ctx_train else ""
    rows = [
        ("context", f"{settings.ctx:,} tokens{full}{shared}", _origin(plan, "ctx")),
        ("parallel sequences", f"{settings.parallel}", _origin(plan, "parallel")),
        ("layers on GPUs", f"{settings.gpu_layers} of {whole}", _origin(plan, "gpu_layers")),
    ]
    if plan.shape.expert_layers:
        rows.append(("experts in RAM", f"{len(settings.experts_in_ram)} layers", _origin(plan, "cpu_moe")))
    rows += [
        ("batch, ubatch", f"{settings.batch:,}, {settings.ubatch:,} tokens", _origin(plan, "ubatch")),
        ("KV cache type", settings.kv_type.value, _origin(plan, "kv_type")),
        ("threads", f"{settings.threads}", _origin(plan, "threads")),
        ("weights", f"{loading}{', repacked for the CPU' if settings.repack else ''}", ""),
    ]
    if len(settings.devices) > 1:
        split = ", ".join(
            f"{n} on {name}" for name, n in zip(settings.devices, settings.device_layers, strict=True)
        )
        rows.append(("layers per GPU", split, ""))
    yield from columns(rows)


def _origin(plan: "Plan", name: str) -> str:
    return "as given" if plan.origins[name] == "user" else ""


def _remarks(plan: "Plan") -> Iterator[str]:
    """What the plan had to give up, and what the reserved memory is for."""
    settings, shape = plan.settings, plan.shape
    if plan.prediction.reserved:
        yield "weights, cache and compute are llama.cpp's own figures, asked for this plan"
    if plan.headroom < 0:
        yield f"that is {format_bytes(-plan.headroom)} more than is free"
    if (
        plan.origins["ctx"] == "plan"
        and plan.workload.purpose == "interactive"
        and settings.ctx < shape.n_ctx_train
    ):
        short = "; that is short for a reasoning model" if settings.ctx < 8_192 else ""
        most = shape.n_ctx_train
        yield f"memory limits the context to {settings.ctx:,} of the model's {most:,} tokens{short}"
    if settings.devices:
        yield "GPU memory is reserved for the driver and kernels, outside llama.cpp's buffers"
    for device in plan.devices:
        if device.shares_ram:
            yield f"{device.name} shares the computer's RAM: memory that it uses is not available as RAM"
