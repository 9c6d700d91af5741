"""The llama.cpp parameters that a plan decides."""

from dataclasses import dataclass
from enum import StrEnum

from ossctl.planning.shape import KvType

_PAD = 256  # llama.cpp rounds the number of KV cells up to a multiple of this


class LoadMode(StrEnum):
    """How weights are loaded: mapped from the file, or read into allocated memory. llama-server's -lm."""

    MMAP = "mmap"
    READ = "none"


@dataclass(frozen=True)
class Settings:
    """Offload, KV cache and batch sizes.

    `devices` are llama.cpp's names, in its order, and `device_layers` the number of layers on each, from the
    first offloaded layer to the last, counting the output layer. The experts of the layers `experts_in_ram`
    stay in RAM. `ctx` is tokens per sequence, or of all sequences if `unified`. Without `flash_attention`,
    all attention scores of a ubatch are in memory. llama.cpp reserves a row of logits for each sequence and
    for `draft` draft tokens, or with `all_logits` for each token of a ubatch.
    """

    devices: tuple[str, ...]
    device_layers: tuple[int, ...]
    experts_in_ram: tuple[int, ...]
    ctx: int
    parallel: int
    unified: bool
    batch: int
    ubatch: int
    kv_type: KvType
    threads: int
    load_mode: LoadMode
    repack: bool
    flash_attention: bool = True
    all_logits: bool = False
    draft: int = 0

    @property
    def gpu_layers(self) -> int:
        """Layers on all devices: llama.cpp's n_gpu_layers."""
        return sum(self.device_layers)

    @property
    def streams(self) -> int:
        """Separate KV caches: one per sequence, or a single one if `unified`."""
        return 1 if self.unified else self.parallel

    @property
    def cells(self) -> int:
        """KV cells of each stream."""
        return _padded(self.ctx)

    def window_cells(self, window: int) -> int:
        """KV cells of each stream in layers with a sliding window (llama_kv_cache_iswa)."""
        sequences = self.parallel if self.unified else 1
        return _padded(min(self.cells, window * sequences + self.n_ubatch))

    @property
    def n_ubatch(self) -> int:
        """Tokens of the largest ubatch that can occur."""
        return min(self.ubatch, self.batch, self.cells * self.streams)

    @property
    def n_tokens(self) -> int:
        """Tokens of the reserved graph: a ubatch, rounded up to a multiple of the number of sequences."""
        return -(-self.n_ubatch // self.parallel) * self.parallel

    @property
    def n_outputs(self) -> int:
        """Rows of logits of the reserved graph, limited by llama.cpp's n_outputs_max."""
        return self.n_tokens if self.all_logits else min(self.n_tokens, self.parallel + self.draft)


def _padded(n: int) -> int:
    return -(-n // _PAD) * _PAD
