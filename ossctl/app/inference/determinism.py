"""Answers that do not depend on what else is generated at the same time."""

from dataclasses import replace

from ossctl.app.placement.load_options import LoadOptions
from ossctl.errors import UsageError
from ossctl.planning.plan import Plan

_ROWS = 4  # of activations that ggml's repacked kernels compute at once; the rest one by one (repack.cpp)


def check_deterministic(plan: Plan | None) -> None:
    """Raise UsageError if answers depend on other requests even though these are isolated."""
    if plan is None:
        return
    if plan.settings.devices:
        raise UsageError("--deterministic works on the CPU only", "Add --gpu-layers 0.")
    if plan.settings.parallel % _ROWS:
        raise UsageError(
            f"--deterministic needs --parallel {_ROWS} or a multiple of it, not {plan.settings.parallel}",
            f"llama.cpp computes sequences in groups of {_ROWS}, and an incomplete group with other code.",
        )
    if plan.settings.unified:
        raise UsageError(
            "--deterministic needs a KV cache of its own for each sequence, and they do not fit",
            "Use a smaller --ctx or --parallel.",
        )


def without_drafts(options: LoadOptions) -> LoadOptions:
    """`options` without drafts, on which the shape of a decode would depend.

    Raises UsageError if they are asked for.
    """
    if options.draft:
        raise UsageError("--draft and --deterministic cannot be combined", "Leave one of them out.")
    return replace(options, draft=0)
