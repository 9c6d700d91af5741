"""The search for the best plan: the first tier that fits, and then what is left spent."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

from ossctl.planning.fill import Division, Load, divide
from ossctl.planning.machine import RAM_MARGIN, Device, Machine, ram_margin
from ossctl.planning.memory import Prediction, cache_bytes, overhead_of, predict, streams_experts
from ossctl.planning.on_cpu import prefers_plain_attention, repacks
from ossctl.planning.plan import COMFORTABLE_CTX, Plan
from ossctl.planning.settings import LoadMode, Settings
from ossctl.planning.shape import KvType, ModelShape
from ossctl.planning.speed import generation_lost
from ossctl.planning.tiers import Placement, Tier, copying_decides, tiers
from ossctl.planning.workload import Overrides, Purpose, Workload

_BATCH = 2_048  # llama.cpp's n_batch
_LARGER_UBATCHES = (4_096, 2_048, 1_024)
# Where copying the experts takes longer than computing with them, one copy for twice as many tokens is worth
# a little speed of generation: gpt-oss-120b on an RTX 3090 read 1,682 tokens/s with a ubatch of 4,096 and
# 2,091 with 8,192.
_LONG_UBATCH = 8_192
_MOST_LOST, _MOST_SHORTER = 0.05, 1 / 8  # of the speed of generation, of the context
_STEP = 1_024  # tokens; contexts are planned in steps of this
_ENDLESS = 1 << 30

# Sequences at once that still raise the throughput of a batch. On a GPU it grows to 32 and beyond (20b on a
# DGX Spark: 80, 436, 681 tokens/s with 1, 16, 32). A CPU computes prompts 7 times as fast as it generates
# (20b on a 7950X: 142 and 21 tokens/s), so 8 sequences use all of it. With experts in RAM, 32 tokens or more
# would be multiplied on the GPU, with all weights copied there for every step.
_MOST_ON_GPU, _MOST_WITH_EXPERTS_IN_RAM, _MOST_ON_CPU = 64, 16, 8


@dataclass(frozen=True)
class Placed:
    """Settings that fit, and the number of their tier: what goes where, but not yet how large the rest is."""

    tier: int
    settings: Settings

    @property
    def rank(self) -> tuple[int, ...]:
        """The larger, the better: the beginning of a plan's `quality`, which nothing later changes."""
        return -self.tier, self.settings.gpu_layers, -len(self.settings.experts_in_ram)


class Search:
    """The best plan on `devices`, all or some of the machine's."""

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
        self._requests = workload.requests or _ENDLESS

    def placed(self, rival: Placed | None = None) -> Placed | None:
        """The first tier that fits; None if none does, or none as good as `rival`."""
        candidates = tiers(self._shape, self._workload, self._overrides, with_gpus=bool(self._devices))
        for number, tier in enumerate(candidates):
            if rival is not None and number >= rival.tier and not self._may_equal(rival, number, tier):
                return None
            settings = self._fit(tier)
            if settings is not None:
                return Placed(number, settings)
        return None

    def finished(self, found: Placed) -> Plan:
        """The plan, with the rest of the memory spent."""
        basis = self._spend_the_rest(found.settings)
        settings = self._with_attention(self._for_long_prompts(basis))
        devices = self._named(settings)
        prediction = predict(self._shape, settings, devices)
        origins = _origins(self._overrides)
        return Plan(
            self._machine,
            self._shape,
            self._workload,
            settings,
            devices,
            prediction,
            origins,
            basis,
            found.tier,
        )

    def _fit(self, tier: Tier) -> Settings | None:
        """Settings of this kind and these sizes that fit; None if there are none."""
        shape, wanted = self._shape, self._overrides.gpu_layers
        if tier.placement is Placement.CPU:
            return self._fitting(self._settings((), Division((), shape.expert_layers), tier))
        if tier.placement is Placement.EXPERTS_IN_RAM and not shape.expert_layers:
            return None
        if tier.placement is Placement.LAYERS_IN_RAM:
            return self._most_layers(tier) if wanted is None else None
        whole = shape.n_layers + 1
        if tier.placement is Placement.FULL and wanted is None and not self._holds(whole, 0):
            return None
        return self._with_layers(whole if wanted is None else min(wanted, whole), tier)

    def _may_equal(self, rival: Placed, number: int, tier: Tier) -> bool:
        """Whether this tier, not a better one than that of `rival`, may give as good a placement here."""
        if number > rival.tier:
            return False
        if tier.placement is Placement.LAYERS_IN_RAM:  # more of them are better, with fewer experts even
            return True
        return self._holds(rival.settings.gpu_layers, len(rival.settings.experts_in_ram))

    def _holds(self, gpu_layers: int, n_behind: int) -> bool:
        """Whether the devices are large enough for the weights at least, which is quickly seen."""
        shape = self._shape
        dense = sum(layer.dense_bytes for layer in shape.layers[shape.n_layers + 1 - gpu_layers :])
        experts = sorted(shape.layers[number].expert_bytes for number in shape.expert_layers)
        weights = dense + shape.output_bytes + sum(experts[: len(experts) - n_behind])
        return weights <= sum(device.free for device in self._devices)

    def _most_layers(self, tier: Tier) -> Settings | None:
        """As many layers on the GPUs as fit, none of their experts left behind if they need not be."""
        low, high, found = 1, self._shape.n_layers, None
        while low <= high:
            middle = (low + high) // 2
            settings = self._with_layers(middle, tier)
            if settings is None:
                high = middle - 1
            else:
                low, found = middle + 1, settings
        return found

    def _with_layers(self, gpu_layers: int, tier: Tier) -> Settings | None:
        """The division that brings the most experts along, or all of them if the tier says so."""
        all_experts = tier.placement is Placement.FULL
        guess = self._settings(self._devices, self._first_guess(gpu_layers, all_experts=all_experts), tier)
        for _ in range(4):  # what compute buffers take depends a little on the division
            prediction = predict(self._shape, guess, self._named(guess))
            division = self._divide(guess, prediction, gpu_layers)
            if division is None:
                return None
            settings = self._settings(self._devices, division, tier)
            behind = len(settings.experts_in_ram) - self._experts_below(gpu_layers)
            if all_experts and behind and self._overrides.cpu_moe is None:
                return None
            found = self._fitting(settings)
            if found is not None:
                return found
            guess = settings
        return None

    def _first_guess(self, gpu_layers: int, *, all_experts: bool) -> Division:
        n, shape = len(self._devices), self._shape
        counts = [gpu_layers // n + (number < gpu_layers % n) for number in range(n)]
        below = self._experts_below(gpu_layers)
        return Division(tuple(counts), shape.expert_layers[:below] if all_experts else shape.expert_layers)

    def _experts_below(self, gpu_layers: int) -> int:
        """Layers with experts that are wholly in RAM."""
        first = self._shape.n_layers + 1 - gpu_layers
        return sum(number < first for number in self._shape.expert_layers)

    def _divide(self, guess: Settings, prediction: Prediction, gpu_layers: int) -> Division | None:
        shape = self._shape
        compute = {name: use.compute for name, use in zip(guess.devices, prediction.devices, strict=True)}
        most = max(compute.values())
        room = [
            device.free - overhead_of(device, shape, guess) - compute.get(device.name, most)
            for device in self._devices
        ]
        caches = cache_bytes(shape, guess)
        division = divide(Load.of(shape.layers, caches, shape.output_bytes), room, gpu_layers)
        wanted = self._overrides.cpu_moe
        if division is None or wanted is None:
            return division
        return _with_experts_behind(division, min(wanted, len(shape.expert_layers)), shape)

    def _least_batch(self, devices: Sequence[Device]) -> int:
        """Several ubatches at once are of use to several GPUs; who waits for an answer sees none of them."""
        return _BATCH if self._workload.conversations == 1 or len(devices) > 1 else 1

    def _settings(self, devices: Sequence[Device], division: Division, tier: Tier) -> Settings:
        used = [pair for pair in zip(devices, division.device_layers, strict=True) if pair[1]]
        shape, overrides = self._shape, self._overrides
        settings = Settings(
            devices=tuple(device.name for device, _ in used),
            device_layers=tuple(count for _, count in used),
            experts_in_ram=division.experts_in_ram,
            ctx=tier.ctx,
            parallel=tier.parallel,
            unified=tier.unified,
            batch=max(self._least_batch(devices), tier.ubatch, tier.parallel),
            ubatch=tier.ubatch,
            kv_type=overrides.kv_type or KvType.F16,
            threads=overrides.threads or self._machine.cores,
            load_mode=LoadMode.MMAP,
            repack=False,
            all_logits=self._workload.all_logits,
        )
        on_cpu = not used and shape.layers
        return replace(settings, repack=repacks(self._machine, shape, self._workload)) if on_cpu else settings

    def _named(self, settings: Settings) -> tuple[Device, ...]:
        return tuple(device for device in self._devices if device.name in settings.devices)

    def _fitting(self, settings: Settings) -> Settings | None:
        """`settings` with the way to load that memory allows; None if they do not fit."""
        return next((way for way in _ways_to_load(settings) if min(self._left(way)) >= 0), None)

    def _left(self, settings: Settings) -> tuple[int, ...]:
        """Bytes left in RAM and on each device; negative where it is too small."""
        devices = self._named(settings)
        prediction = predict(self._shape, settings, devices)
        uses = list(zip(devices, prediction.devices, strict=True))
        shared = sum(device.of_ram(use.total) for device, use in uses)
        in_ram = self._machine.ram_free - ram_margin(self._machine) - prediction.host.total - shared
        if settings.load_mode is LoadMode.READ or not settings.flash_attention:
            in_ram -= int(RAM_MARGIN * self._machine.ram_total)  # what is not mapped cannot be dropped again
        return in_ram, *(device.free - use.total for device, use in uses)

    def _most_left(self, settings: Settings) -> tuple[int, ...]:
        """The same in the least demanding way to load."""
        *_, least = _ways_to_load(settings)
        return self._left(least)

    def _spend_the_rest(self, settings: Settings) -> Settings:
        """More context or sequences, then a larger ubatch, as far as the same placement allows."""
        if self._workload.use is Purpose.BATCH:
            if self._overrides.parallel is None:
                most = min(self._requests, self._most_sequences(settings))
                settings = self._largest(settings, settings.parallel, most, 1, _with_parallel)
        elif self._overrides.ctx is None:
            most = self._workload.useful_ctx(self._shape)
            settings = self._largest(settings, settings.ctx, most, _STEP, _with_ctx)
        if self._overrides.ubatch is None and settings.devices:
            for ubatch in _LARGER_UBATCHES:
                if ubatch <= settings.ubatch or (ubatch > _BATCH and not settings.experts_in_ram):
                    continue
                found = self._fitting(replace(settings, ubatch=ubatch, batch=max(settings.batch, ubatch)))
                if found is not None:
                    settings = found
                    break
        return settings

    def _for_long_prompts(self, settings: Settings) -> Settings:
        """`settings` with a ubatch of 8,192 where that pays, at a price that is small and explicit.

        Generation loses at most 5 % to experts of another layer or two in RAM, and a context that the user
        has not given an eighth of its length, but none of what is comfortable.
        """
        if self._overrides.ubatch is not None or not self._reads_long_prompts(settings):
            return settings
        ctx = settings.ctx
        if (
            self._workload.use is Purpose.INTERACTIVE
            and self._overrides.ctx is None
            and ctx > COMFORTABLE_CTX
        ):
            ctx = max(COMFORTABLE_CTX, int(ctx * (1 - _MOST_SHORTER)) // _STEP * _STEP)
        tier = Tier(Placement.EXPERTS_IN_RAM, ctx, settings.parallel, settings.unified, _LONG_UBATCH)
        longer = self._with_layers(settings.gpu_layers, tier)
        if longer is None or longer.load_mode is not settings.load_mode:
            return settings
        if generation_lost(self._shape, settings, longer) > _MOST_LOST:
            return settings
        return self._largest(longer, ctx, settings.ctx, _STEP, _with_ctx)

    def _reads_long_prompts(self, settings: Settings) -> bool:
        """Whether a GPU copies large experts from RAM, and the cache holds prompts that are worth it."""
        whole = settings.gpu_layers == self._shape.n_layers + 1
        if not whole or not settings.experts_in_ram or not copying_decides(self._shape):
            return False
        first, *_ = self._named(settings)
        long = settings.cells * settings.streams >= _LONG_UBATCH
        return long and streams_experts(first, settings) and not first.shares_ram

    def _with_attention(self, settings: Settings) -> Settings:
        """`settings` without flash attention where that is sooner done and its scores fit as well."""
        suits = prefers_plain_attention(self._machine, self._shape, self._workload, settings)
        if settings.devices or not suits:
            return settings
        plain = replace(settings, flash_attention=False)
        return plain if min(self._left(plain)) >= 0 else settings

    def _most_sequences(self, settings: Settings) -> int:
        if not settings.devices:
            return _MOST_ON_CPU
        return _MOST_WITH_EXPERTS_IN_RAM if settings.experts_in_ram else _MOST_ON_GPU

    def _largest(
        self,
        settings: Settings,
        low: int,
        high: int,
        step: int,
        changed: Callable[[Settings, int], Settings],
    ) -> Settings:
        """`settings` with the largest value, a multiple of `step`, that fits; `low` does."""
        if high <= low:
            return settings
        good, bad = low // step, -(-high // step)
        fits, whole = settings, changed(settings, high)
        left, missing = self._most_left(fits), self._most_left(whole)
        if min(missing) >= 0:
            fits, good = whole, bad
        n_steps = 0
        while bad - good > 1:
            # Use grows in proportion, and faster once another tensor is the largest; halving now and then
            # bounds the number of steps.
            n_steps += 1
            middle = (good + bad) // 2 if n_steps % 5 == 0 else _root(good, left, bad, missing)
            middle = min(max(middle, good + 1), bad - 1)
            tried = changed(settings, middle * step)
            found = self._most_left(tried)
            if min(found) >= 0:
                good, left, fits = middle, found, tried
            else:
                bad, missing = middle, found
        return self._fitting(fits) or settings


def _root(good: int, left: Sequence[int], bad: int, missing: Sequence[int]) -> int:
    """Where the first of them is used up, by lines from what is left at `good` to what is at `bad`."""
    pairs = zip(left, missing, strict=True)
    return good + min((bad - good) * more // (more - less) for more, less in pairs if less < 0)


def _ways_to_load(settings: Settings) -> Iterator[Settings]:
    """From the fastest to run to the least demanding.

    Weights that a GPU takes from RAM for every ubatch are copied faster from memory of llama.cpp's own, which
    the driver can reach directly, than from a mapped file.
    """
    if settings.devices and settings.experts_in_ram:
        yield replace(settings, load_mode=LoadMode.READ)
    if settings.repack:
        yield settings
    yield replace(settings, load_mode=LoadMode.MMAP, repack=False)


def _with_ctx(settings: Settings, ctx: int) -> Settings:
    return replace(settings, ctx=ctx)


def _with_parallel(settings: Settings, parallel: int) -> Settings:
    return replace(settings, parallel=parallel, batch=max(settings.batch, parallel))


def _with_experts_behind(division: Division, n_behind: int, shape: ModelShape) -> Division | None:
    """The division with the experts of exactly `n_behind` layers in RAM, the first ones of each device."""
    if len(division.experts_in_ram) > n_behind:
        return None
    behind = set(division.experts_in_ram)
    for number in shape.expert_layers:
        if len(behind) == n_behind:
            break
        behind.add(number)
    return replace(division, experts_in_ram=tuple(sorted(behind)))


def _origins(overrides: Overrides) -> dict[str, str]:
    given = overrides.given()
    return {field.name: "user" if field.name in given else "plan" for field in fields(overrides)}
