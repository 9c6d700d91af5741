"""The inputs of a plan besides machine and model: the workload, and the user's overrides."""

from dataclasses import dataclass, fields
from enum import StrEnum

from ossctl.planning.attention import USUAL_TOKENS
from ossctl.planning.shape import KvType, ModelShape


class Purpose(StrEnum):
    """Low latency for one conversation at a time, or the throughput of many requests."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


@dataclass(frozen=True)
class Workload:
    """What a model is loaded for.

    `requests` is the size of a batch and `request_tokens` the limit of prompt and answer together, None if
    not known. `conversations` share one KV cache, and only one of them is generating at a time.
    `prompt_tokens` and `answer_tokens` are estimates for one request. `all_logits` is for
    perplexities, and for programs that reserve a row of logits for every token of a ubatch, as older
    llama-servers do. Unless `plain_attention`, flash attention is used even where plain attention is faster.
    Up to `draft` drafted tokens are decoded together with those that they follow. `engines` share the RAM.
    """

    purpose: Purpose = Purpose.INTERACTIVE
    requests: int | None = None
    request_tokens: int | None = None
    conversations: int = 1
    prompt_tokens: int = USUAL_TOKENS
    answer_tokens: int = USUAL_TOKENS
    all_logits: bool = False
    plain_attention: bool = True
    draft: int = 0
    engines: int = 1

    def useful_ctx(self, shape: ModelShape) -> int:
        """The largest context size, in tokens, that this workload can use."""
        return min(shape.n_ctx_train, self.request_tokens or shape.n_ctx_train)


@dataclass(frozen=True)
class Overrides:
    """Settings fixed by the user. The planner decides those that are None.

    `ctx` is tokens per sequence, `cpu_moe` the number of layers whose experts stay in RAM, `devices` the
    names of devices, () for the CPU alone.
    """

    ctx: int | None = None
    parallel: int | None = None
    gpu_layers: int | None = None
    cpu_moe: int | None = None
    kv_type: KvType | None = None
    ubatch: int | None = None
    threads: int | None = None
    devices: tuple[str, ...] | None = None

    def given(self) -> frozenset[str]:
        """Names of the fields that are set."""
        return frozenset(field.name for field in fields(self) if getattr(self, field.name) is not None)
