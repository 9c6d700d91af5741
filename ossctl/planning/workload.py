"""What a plan is for, and what of it the user has decided already."""

from dataclasses import dataclass, fields
from enum import StrEnum

from ossctl.planning.attention import USUAL_TOKENS
from ossctl.planning.shape import KvType, ModelShape


class Purpose(StrEnum):
    """One conversation at a time, or as many answers as possible."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


@dataclass(frozen=True)
class Workload:
    """`requests` is how many a batch has, `tokens` what one comes to at most; None if that is not known.

    So many `conversations` are kept in one cache that they share, though one goes on at a time. `reads` and
    `writes` are the tokens of a prompt and of its answer, as far as can be guessed. With `all_logits` the
    plan is for a program that reserves a row of logits for every token of a ubatch.
    """

    use: Purpose = Purpose.INTERACTIVE
    requests: int | None = None
    tokens: int | None = None
    conversations: int = 1
    reads: int = USUAL_TOKENS
    writes: int = USUAL_TOKENS
    all_logits: bool = False

    def useful_ctx(self, shape: ModelShape) -> int:
        """The largest context, in tokens, that is of any use."""
        return min(shape.n_ctx_train, self.tokens or shape.n_ctx_train)


@dataclass(frozen=True)
class Overrides:
    """What the user has given; the plan keeps it and decides the rest. None is not given.

    `ctx` is tokens a sequence. `cpu_moe` is how many layers keep their experts in RAM. `devices` are names;
    () is the CPU alone.
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
