"""Everything that a plan tells llama.cpp."""

from dataclasses import dataclass
from enum import StrEnum

from ossctl.planning.shape import KvType

_PAD = 256  # llama.cpp rounds the cells of a cache up to this


class LoadMode(StrEnum):
    """How weights come into memory: mapped from the file, or read into memory of their own."""

    MMAP = "mmap"
    READ = "none"


@dataclass(frozen=True)
class Settings:
    """Where a model's parts go and how large its cache and batches are.

    `devices` are llama.cpp's names, in its order; `device_layers` how many layers each of them takes, from
    the first offloaded to the last, with the output counted as a layer. The experts of the layers
    `experts_in_ram` stay behind. `ctx` is tokens of one sequence, or of all together if `unified`. Without
    `flash_attention` the scores of a ubatch are in memory all at once. llama.cpp reserves a row of logits for
    each sequence, or with `all_logits` for each token of a ubatch.
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

    @property
    def gpu_layers(self) -> int:
        """Layers on all devices together; llama.cpp's n_gpu_layers."""
        return sum(self.device_layers)

    @property
    def streams(self) -> int:
        """Separate caches: one a sequence, or one for all."""
        return 1 if self.unified else self.parallel

    @property
    def cells(self) -> int:
        """Tokens that a stream's cache holds."""
        return _padded(self.ctx)

    def window_cells(self, window: int) -> int:
        """Cells of a stream in layers with a window (llama_kv_cache_iswa)."""
        sequences = self.parallel if self.unified else 1
        return _padded(min(self.cells, window * sequences + self.n_ubatch))

    @property
    def n_ubatch(self) -> int:
        return min(self.ubatch, self.batch, self.cells * self.streams)

    @property
    def n_tokens(self) -> int:
        """Tokens of the graph that llama.cpp reserves: a ubatch in whole tokens a sequence."""
        return -(-self.n_ubatch // self.parallel) * self.parallel

    @property
    def n_outputs(self) -> int:
        """Rows of logits of that graph; llama.cpp's n_outputs_max bounds them."""
        return self.n_tokens if self.all_logits else min(self.n_tokens, self.parallel)


def _padded(n: int) -> int:
    return -(-n // _PAD) * _PAD
