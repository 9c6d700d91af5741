"""Options of how a model is placed in memory, and of what is kept on disk."""

import re
from typing import TYPE_CHECKING, Annotated, Literal

import typer

_AUTO = -1
_DRAFTS = {"off": 0, "auto": _AUTO}
_MAX_DRAFT = 31  # tokens; a decode of 32

if TYPE_CHECKING:
    from ossctl.app.placement.load_options import LoadOptions


def tokens_or_max(text: str) -> str:
    """Check that `text` is a number of tokens or `max`."""
    if text.strip().lower() == "max":
        return "max"
    if not text.strip().isascii() or not text.strip().isdigit() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is neither a number of tokens nor `max`.")
    return str(int(text))


def _n_bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", text.strip(), re.IGNORECASE)
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a size such as 8GiB or 500MB")
    number, prefix, binary = found.groups()
    power = " kmgt".index(prefix.lower() or " ")
    return int(float(number) * (1024 if binary else 1000) ** power)


def _draft(text: str) -> int:
    """The number of tokens to draft, or _AUTO."""
    text = text.strip().lower()
    if text in _DRAFTS:
        return _DRAFTS[text]
    if text.isascii() and text.isdigit() and int(text) <= _MAX_DRAFT:
        return int(text)
    raise typer.BadParameter(f"{text!r} is neither `off`, `auto`, nor a number up to {_MAX_DRAFT}.")


def loading_options(
    *,
    ctx: Annotated[
        str | None,
        typer.Option(
            "--ctx",
            metavar="N|max",
            envvar="OSSCTL_CTX",
            parser=tokens_or_max,
            help="Context size in tokens per request, for prompt and answer together.  [default: automatic]",
        ),
    ] = None,
    parallel: Annotated[
        int | None,
        typer.Option(
            "--parallel",
            metavar="N",
            envvar="OSSCTL_PARALLEL",
            min=1,
            max=256,
            help="Requests to process in parallel.  [default: automatic]",
        ),
    ] = None,
    gpu_layers: Annotated[
        int | None,
        typer.Option(
            "--gpu-layers",
            metavar="N",
            envvar="OSSCTL_GPU_LAYERS",
            min=0,
            help="Layers to offload to GPUs, counting the output layer.  [default: automatic]",
        ),
    ] = None,
    cpu_moe: Annotated[
        int | None,
        typer.Option(
            "--cpu-moe",
            metavar="N",
            envvar="OSSCTL_CPU_MOE",
            min=0,
            help="Keep the MoE experts of N layers in RAM.  [default: automatic]",
        ),
    ] = None,
    kv: Annotated[
        Literal["f16", "q8_0"] | None,
        typer.Option("--kv", envvar="OSSCTL_KV", help="Data type of the KV cache.  [default: f16]"),
    ] = None,
    ubatch: Annotated[
        int | None,
        typer.Option(
            "--ubatch",
            metavar="N",
            envvar="OSSCTL_UBATCH",
            min=1,
            max=65_536,
            help="Prompt tokens per physical batch (llama.cpp's --ubatch-size).  [default: automatic]",
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(
            "--threads",
            metavar="N",
            envvar="OSSCTL_THREADS",
            min=0,
            max=512,
            help="CPU threads; 0 means one per physical core.",
        ),
    ] = 0,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME[,NAME]",
            envvar="OSSCTL_DEVICE",
            help="Devices to use, such as CUDA0,CUDA1; cpu means no GPU.  [default: all]",
        ),
    ] = None,
    draft: Annotated[
        int,
        typer.Option(
            "--draft",
            metavar="off|auto|N",
            envvar="OSSCTL_DRAFT",
            parser=_draft,
            help="Speculative decoding by prompt lookup: draft up to N tokens where the answer repeats "
            "earlier text; auto drafts where it is expected to be faster.",
        ),
    ] = "auto",  # type: ignore[assignment]
    rpc: Annotated[
        str | None,
        typer.Option(
            "--rpc",
            metavar="HOST:PORT[,…]",
            envvar="OSSCTL_RPC",
            help="Also use the devices of these machines, where `ossctl worker` runs.",
        ),
    ] = None,
) -> "LoadOptions":
    """How the model is placed in memory."""
    from ossctl.app.placement.load_options import LoadOptions

    if rpc:
        from ossctl.app.placement.workers import use_workers

        use_workers(rpc)
    n_draft = None if draft == _AUTO else draft
    return LoadOptions(ctx, parallel, gpu_layers, cpu_moe, kv, ubatch, threads, device, draft=n_draft)


def cache_options(
    *,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither read nor write the prefix cache on disk.")
    ] = False,
    cache_size: Annotated[
        int | None,
        typer.Option(
            "--cache-size",
            metavar="SIZE",
            envvar="OSSCTL_CACHE_SIZE",
            parser=_n_bytes,
            help="Size limit of the prefix cache on disk, such as 8GiB.  [default: a tenth of the free "
            "space]",
        ),
    ] = None,
) -> int | None:
    """The size limit of the prefix cache in bytes; None if the user does not say."""
    return 0 if no_cache else cache_size


LoadingGroup = Annotated["LoadOptions", loading_options]
CacheGroup = Annotated[int | None, cache_options]
