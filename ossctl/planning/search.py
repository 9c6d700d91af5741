"""The search for the best plan: find the first tier that fits, then use up the remaining memory."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from ossctl.planning.capacity import Capacity
from ossctl.planning.layer_split import ByteSums, LayerSplit, split_layers
from ossctl.planning.machine import Device, Machine
from ossctl.planning.memory import Prediction, cache_bytes, overhead_of, streams_experts
from ossctl.planning.on_cpu import prefers_plain_attention, should_repack
from ossctl.planning.plan import COMFORTABLE_CTX, Plan
from ossctl.planning.settings import LoadMode, Settings
from ossctl.planning.shape import KvType, ModelShape
from ossctl.planning.speed import generation_slowdown
from ossctl.planning.tiers import Placement, Tier, has_large_experts, tiers
from ossctl.planning.workload import Overrides, Purpose, Workload

_N_BATCH = 2_048  # llama.cpp's default n_batch
_LARGER_UBATCHES = (4_096, 2_048, 1_024)
# Large experts in RAM are copied to the GPU once per ubatch: with gpt-oss-120b on an RTX 3090, prefill was
# 1,682 tokens/s with a ubatch of 4,096 and 2,091 with 8,192.
_LONG_UBATCH = 8_192
_MAX_SLOWDOWN, _MAX_CTX_LOSS = 0.05, 1 / 8  # shares of generation speed and of the context given up for it
_CTX_STEP = 1_024  # tokens
_UNLIMITED = 1 << 30

# Parallel sequences up to which the throughput of a batch grows. On a GPU that is 32 and more (20b on a DGX
# Spark: 80, 436 and 681 tokens/s with 1, 16 and 32). On a CPU, prefill is 7 times as fast as decode (20b on a
# 7950X: 142 and 21 tokens/s), so 8 sequences suffice. With experts in RAM, a step of 32 tokens or more would
# be computed on the GPU, with all weights copied there.
_MAX_PARALLEL_GPU, _MAX_PARALLEL_EXPERTS_IN_RAM, _MAX_PARALLEL_CPU = 64, 16, 8


@dataclass(frozen=True)
class Placed:
    """Settings of a tier that fit: the placement is final, context, sequences and ubatch are not."""

    tier: int
    settings: Settings

    @property
    def rank(self) -> tuple[int, ...]:
        """A sort key, larger for better placements: the first items of `Plan.quality`."""
        return -self.tier, self.settings.gpu_layers, -len(self.settings.experts_in_ram)


class Search:
    """Search for the best plan on `devices`, all or some of the machine's."""

    def __init__(
        self,
        machine: Machine,
        shape: ModelShape,
        workload: Workload,
        overrides: Overrides,
        devices: tuple[Device, ...],
    ) -> None:
        self._machine = machine
        self._shape = shape
        self._workload = workload
        self._overrides = overrides
        self._devices = devices
        self._capacity = Capacity(machine, shape, devices)

    def place(self, rival: Placed | None = None) -> Placed | None:
        """Settings of the first tier that fits, or None if none does or none can match `rival`."""
        candidates = tiers(self._shape, self._workload, self._overrides, with_gpus=bool(self._devices))
        for number, tier in enumerate(candidates):
            if rival is not None and number >= rival.tier and not self._can_match(rival, number, tier):
                return None
            settings = self._fit(tier)
            if settings is not None:
                return Placed(number, settings)
        return None

    def finish(self, placed: Placed) -> Plan:
        """The plan for a placement, with the remaining memory used up."""
        basis = self._use_remaining_memory(placed.settings)
        settings = self._with_attention(self._with_long_ubatch(basis))
        return Plan(
            machine=self._machine,
            shape=self._shape,
            workload=self._workload,
            settings=settings,
            devices=self._capacity.devices_of(settings),
            prediction=self._capacity.predict(settings),
            origins=_origins(self._overrides),
            basis=basis,
            tier=placed.tier,
        )

    def _fit(self, tier: Tier) -> Settings | None:
        """Settings of this tier that fit, or None."""
        shape, wanted = self._shape, self._overrides.gpu_layers
        if tier.placement is Placement.CPU:
            return self._capacity.fitting(self._settings((), LayerSplit((), shape.expert_layers), tier))
        if tier.placement is Placement.EXPERTS_IN_RAM and not shape.expert_layers:
            return None
        if tier.placement is Placement.LAYERS_IN_RAM:
            return self._most_layers(tier) if wanted is None else None
        n_layers = shape.n_layers + 1
        if tier.placement is Placement.FULL and wanted is None and not self._can_hold(n_layers, 0):
            return None
        return self._with_layers(n_layers if wanted is None else min(wanted, n_layers), tier)

    def _can_match(self, rival: Placed, number: int, tier: Tier) -> bool:
        """Whether this tier, no better than the rival's, may give as good a placement."""
        if number > rival.tier:
            return False
        if tier.placement is Placement.LAYERS_IN_RAM:  # more layers are better, even with fewer experts
            return True
        return self._can_hold(rival.settings.gpu_layers, len(rival.settings.experts_in_ram))

    def _can_hold(self, gpu_layers: int, n_experts_in_ram: int) -> bool:
        """A quick check whether the devices are large enough for the weights alone."""
        shape = self._shape
        dense = sum(layer.dense_bytes for layer in shape.layers[shape.n_layers + 1 - gpu_layers :])
        experts = sorted(shape.layers[number].expert_bytes for number in shape.expert_layers)
        weights = dense + shape.output_bytes + sum(experts[: len(experts) - n_experts_in_ram])
        return weights <= sum(device.free for device in self._devices)

    def _most_layers(self, tier: Tier) -> Settings | None:
        """As many layers on devices as fit, with as many of their experts as possible."""
        low, high, best = 1, self._shape.n_layers, None
        while low <= high:
            middle = (low + high) // 2
            settings = self._with_layers(middle, tier)
            if settings is None:
                high = middle - 1
            else:
                low, best = middle + 1, settings
        return best

    def _with_layers(self, gpu_layers: int, tier: Tier) -> Settings | None:
        """The split with the most experts on devices, or with all of them if the tier requires it."""
        all_experts = tier.placement is Placement.FULL
        settings = self._settings(self._devices, self._first_guess(gpu_layers, all_experts=all_experts), tier)
        for _ in range(4):  # the size of compute buffers depends a little on the split
            split = self._split(settings, self._capacity.predict(settings), gpu_layers)
            if split is None:
                return None
            settings = self._settings(self._devices, split, tier)
            moved = len(settings.experts_in_ram) - self._n_experts_below(gpu_layers)
            if all_experts and moved and self._overrides.cpu_moe is None:
                return None
            fitting = self._capacity.fitting(settings)
            if fitting is not None:
                return fitting
        return None

    def _first_guess(self, gpu_layers: int, *, all_experts: bool) -> LayerSplit:
        n, shape = len(self._devices), self._shape
        counts = [gpu_layers // n + (number < gpu_layers % n) for number in range(n)]
        below = self._n_experts_below(gpu_layers)
        return LayerSplit(tuple(counts), shape.expert_layers[:below] if all_experts else shape.expert_layers)

    def _n_experts_below(self, gpu_layers: int) -> int:
        """Number of layers with experts that are not offloaded."""
        first = self._shape.n_layers + 1 - gpu_layers
        return sum(number < first for number in self._shape.expert_layers)

    def _split(self, settings: Settings, prediction: Prediction, gpu_layers: int) -> LayerSplit | None:
        """The best split into the memory that the compute buffers of `settings` leave."""
        shape = self._shape
        compute = {name: use.compute for name, use in zip(settings.devices, prediction.devices, strict=True)}
        largest = max(compute.values())
        capacities = [
            device.free - overhead_of(device, shape, settings) - compute.get(device.name, largest)
            for device in self._devices
        ]
        sums = ByteSums.of(shape.layers, cache_bytes(shape, settings), shape.output_bytes)
        split = split_layers(sums, capacities, gpu_layers)
        wanted = self._overrides.cpu_moe
        if split is None or wanted is None:
            return split
        return _with_experts_in_ram(split, min(wanted, len(shape.expert_layers)), shape)

    def _settings(self, devices: Sequence[Device], split: LayerSplit, tier: Tier) -> Settings:
        used = [pair for pair in zip(devices, split.device_layers, strict=True) if pair[1]]
        shape, overrides = self._shape, self._overrides
        on_cpu = not used and bool(shape.layers)
        return Settings(
            devices=tuple(device.name for device, _ in used),
            device_layers=tuple(count for _, count in used),
            experts_in_ram=split.experts_in_ram,
            ctx=tier.ctx,
            parallel=tier.parallel,
            unified=tier.unified,
            batch=max(self._min_batch(devices), tier.ubatch, tier.parallel),
            ubatch=tier.ubatch,
            kv_type=overrides.kv_type or KvType.F16,
            threads=overrides.threads or self._machine.cores,
            load_mode=LoadMode.MMAP,
            repack=on_cpu and should_repack(self._machine, shape, self._workload),
            all_logits=self._workload.all_logits,
            draft=0 if any(layer.state_bytes for layer in shape.kinds) else self._workload.draft,
        )

    def _min_batch(self, devices: Sequence[Device]) -> int:
        """Tokens. With several conversations, batches of several ubatches help only pipeline parallelism."""
        return _N_BATCH if self._workload.conversations == 1 or len(devices) > 1 else 1

    def _use_remaining_memory(self, settings: Settings) -> Settings:
        """A larger context or more sequences, then a larger ubatch, with the same placement."""
        if self._workload.purpose is Purpose.BATCH:
            if self._overrides.parallel is None:
                most = min(self._workload.requests or _UNLIMITED, _max_parallel(settings))
                settings = self._capacity.largest(settings, settings.parallel, most, 1, _with_parallel)
        elif self._overrides.ctx is None:
            most = self._workload.useful_ctx(self._shape)
            settings = self._capacity.largest(settings, settings.ctx, most, _CTX_STEP, _with_ctx)
        if self._overrides.ubatch is None and settings.devices:
            return self._with_larger_ubatch(settings)
        return settings

    def _with_larger_ubatch(self, settings: Settings) -> Settings:
        for ubatch in _LARGER_UBATCHES:
            if ubatch <= settings.ubatch or (ubatch > _N_BATCH and not settings.experts_in_ram):
                continue
            larger = replace(settings, ubatch=ubatch, batch=max(settings.batch, ubatch))
            fitting = self._capacity.fitting(larger)
            if fitting is not None:
                return fitting
        return settings

    def _with_long_ubatch(self, settings: Settings) -> Settings:
        """`settings` with a ubatch of 8,192 if that makes prefill faster at a small price.

        Experts of another layer or two in RAM may slow generation down by 5 %, and an automatic context may
        become an eighth shorter, but not less than COMFORTABLE_CTX.
        """
        if self._overrides.ubatch is not None or not self._benefits_from_long_ubatch(settings):
            return settings
        ctx, interactive = settings.ctx, self._workload.purpose is Purpose.INTERACTIVE
        if interactive and self._overrides.ctx is None and ctx > COMFORTABLE_CTX:
            ctx = max(COMFORTABLE_CTX, int(ctx * (1 - _MAX_CTX_LOSS)) // _CTX_STEP * _CTX_STEP)
        tier = Tier(Placement.EXPERTS_IN_RAM, ctx, settings.parallel, settings.unified, _LONG_UBATCH)
        longer = self._with_layers(settings.gpu_layers, tier)
        if longer is None or longer.load_mode is not settings.load_mode:
            return settings
        if generation_slowdown(self._shape, settings, longer) > _MAX_SLOWDOWN:
            return settings
        return self._capacity.largest(longer, ctx, settings.ctx, _CTX_STEP, _with_ctx)

    def _benefits_from_long_ubatch(self, settings: Settings) -> bool:
        """Whether a GPU copies large experts from RAM and the KV cache holds prompts of such a length."""
        full_offload = settings.gpu_layers == self._shape.n_layers + 1
        if not full_offload or not settings.experts_in_ram or not has_large_experts(self._shape):
            return False
        first, *_ = self._capacity.devices_of(settings)
        long = settings.cells * settings.streams >= _LONG_UBATCH
        return long and streams_experts(first, settings) and not first.shares_ram

    def _with_attention(self, settings: Settings) -> Settings:
        """`settings` without flash attention if that is faster on this CPU and fits."""
        plain = replace(settings, flash_attention=False)
        faster = prefers_plain_attention(self._machine, self._shape, self._workload, settings)
        return plain if not settings.devices and faster and self._capacity.fits(plain) else settings


def _max_parallel(settings: Settings) -> int:
    if not settings.devices:
        return _MAX_PARALLEL_CPU
    return _MAX_PARALLEL_EXPERTS_IN_RAM if settings.experts_in_ram else _MAX_PARALLEL_GPU


def _with_ctx(settings: Settings, ctx: int) -> Settings:
    return replace(settings, ctx=ctx)


def _with_parallel(settings: Settings, parallel: int) -> Settings:
    return replace(settings, parallel=parallel, batch=max(settings.batch, parallel))


def _with_experts_in_ram(split: LayerSplit, n_layers: int, shape: ModelShape) -> LayerSplit | None:
    """`split` with the experts of exactly `n_layers` layers in RAM, adding those of the first layers."""
    if len(split.experts_in_ram) > n_layers:
        return None
    in_ram = set(split.experts_in_ram)
    for number in shape.expert_layers:
        if len(in_ram) == n_layers:
            break
        in_ram.add(number)
    return replace(split, experts_in_ram=tuple(sorted(in_ram)))


def _origins(overrides: Overrides) -> dict[str, str]:
    given = overrides.given()
    return {field.name: "user" if field.name in given else "plan" for field in fields(overrides)}
