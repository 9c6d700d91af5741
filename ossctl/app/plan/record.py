"""The JSON form of a report, `ossctl.plan/1`."""

from dataclasses import asdict
from typing import Any

from ossctl.app.placement.fit import DoesNotFit
from ossctl.app.plan.memory import bottleneck, memory_rows
from ossctl.app.plan.report import Report
from ossctl.planning.machine import Machine
from ossctl.planning.plan import Plan


def plan_record(report: Report) -> dict[str, Any]:
    """A report as an `ossctl.plan/1` object."""
    fits = isinstance(report.fit, Plan)
    record = {"schema": "ossctl.plan/1", "fits": fits, "model": report.model, "here": report.here}
    if isinstance(report.fit, DoesNotFit):
        return {**record, **_failure(report.fit, report.machine)}
    return {
        **record,
        "plan": _settings(report.fit),
        "devices": _memory(report.fit),
        "figures": "llama.cpp" if report.fit.prediction.reserved else "predicted",
        "origins": dict(report.fit.origins),
        "bottleneck": bottleneck(report.fit),
        "measured_speed": None if report.speed is None else asdict(report.speed),
    }


def _failure(fit: DoesNotFit, machine: Machine) -> dict[str, Any]:
    memories = [(device.name, device.total, device.free) for device in machine.devices]
    return {
        "plan": None,
        "devices": [
            {"name": name, "total_bytes": total, "free_bytes": free}
            for name, total, free in (*memories, ("RAM", machine.ram_total, machine.ram_free))
        ],
        "error": {"message": fit.error.message, "hint": fit.error.hint},
        "needed_ram_bytes": fit.required_ram,
    }


def _settings(plan: Plan) -> dict[str, Any]:
    settings = plan.settings
    return {
        "gpu_layers": settings.gpu_layers,
        "layers": plan.shape.n_layers + 1,
        "cpu_moe_layers": len(settings.experts_in_ram),
        "experts_in_ram": list(settings.experts_in_ram),
        "devices": list(settings.devices),
        "device_layers": list(settings.device_layers),
        "ctx": settings.ctx,
        "parallel": settings.parallel,
        "unified": settings.unified,
        "batch": settings.batch,
        "ubatch": settings.ubatch,
        "kv_type": settings.kv_type.value,
        "flash_attention": settings.flash_attention,
        "threads": settings.threads,
        "load_mode": settings.load_mode.value,
        "repack": settings.repack,
    }


def _memory(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "total_bytes": total,
            "free_bytes": free,
            "weights_bytes": use.weights,
            "kv_bytes": use.kv,
            "compute_bytes": use.compute,
            "overhead_bytes": use.overhead,
        }
        for name, total, free, use in memory_rows(plan)
    ]
