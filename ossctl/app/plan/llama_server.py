"""The llama-server command line for a plan."""

from ossctl.app.library.resolve import hub_reference, locate
from ossctl.app.placement.server_options import server_options
from ossctl.app.plan.memory import memory_rows
from ossctl.build import command_line
from ossctl.errors import ModelError
from ossctl.planning.machine import GIB, ram_margin
from ossctl.planning.plan import Plan

_PROMPT_CACHE = 8 * GIB  # llama-server's default for -cram


def llama_command(plan: Plan, model: str) -> str:
    """The llama-server command that places the model as planned."""
    options = server_options(plan.settings, _prompt_cache(plan))
    return command_line(["llama-server", *_source_arguments(model), *options])


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
