"""The command line's options for loading a model."""

from dataclasses import dataclass, replace
from pathlib import Path

from ossctl.errors import UsageError
from ossctl.planning.shape import KvType, ModelShape
from ossctl.planning.workload import Overrides, Workload

MAX_CTX = "max"
_NO_GPU = ("cpu", "none")
_AUTO_DRAFT = 15  # tokens; with the one before them, a decode of 16


@dataclass(frozen=True)
class ChatTemplate:
    """A template that replaces the model's own, and the file that it is from."""

    text: str
    path: Path

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"the chat template {self.path}"


@dataclass(frozen=True)
class LoadOptions:
    """Options as given on the command line, None if omitted.

    `ctx` is a number of tokens or `max`, `threads` 0 means one per core, `device` is a comma-separated list,
    `cache_bytes` the limit of the cache of prefixes on disk; 0 turns it off. `template` replaces the model's
    own chat template. `draft` is the number of tokens to draft, None where that is expected to pay.
    """

    ctx: int | str | None = None
    parallel: int | None = None
    gpu_layers: int | None = None
    cpu_moe: int | None = None
    kv: str | None = None
    ubatch: int | None = None
    threads: int | None = None
    device: str | None = None
    cache_bytes: int | None = None
    template: ChatTemplate | None = None
    draft: int | None = None

    def drafting(self, workload: Workload) -> Workload:
        """`workload` with the draft tokens that a decode may have."""
        return replace(workload, draft=_AUTO_DRAFT if self.draft is None else self.draft)

    def overrides(self, shape: ModelShape) -> Overrides:
        """The overrides for a plan of `shape`. Raises UsageError."""
        ctx = shape.n_ctx_train if self.ctx == MAX_CTX else self.ctx
        return Overrides(
            ctx=None if ctx is None else int(ctx),
            parallel=self.parallel,
            gpu_layers=self.gpu_layers,
            cpu_moe=self.cpu_moe,
            kv_type=None if self.kv is None else KvType(self.kv),
            ubatch=self.ubatch,
            threads=self.threads or None,
            devices=None if self.device is None else device_names(self.device),
        )


def device_names(text: str) -> tuple[str, ...]:
    """The GPUs in `--device CUDA0,CUDA1`, none for `cpu`. Raises UsageError."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("--device is empty", "Use `--device cpu` for no GPU.")
    gpus = tuple(name for name in names if name.lower() not in _NO_GPU)
    if gpus and len(gpus) < len(names):
        raise UsageError(
            f"--device {text}: GPUs and cpu cannot be combined",
            "Use `--device cpu` for no GPU, or only names of GPUs; --gpu-layers leaves layers to the CPU.",
        )
    return gpus
