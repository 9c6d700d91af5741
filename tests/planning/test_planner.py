"""Plans for real machines, which must be at least as good as published configurations."""

from dataclasses import replace

import pytest

from ossctl.app.placement.shapes import known_shapes
from ossctl.errors import MemoryShortage, UsageError
from ossctl.planning.attention import AttentionCosts
from ossctl.planning.machine import GIB, Device, Machine, ram_margin
from ossctl.planning.memory import predict
from ossctl.planning.plan import Plan
from ossctl.planning.planner import make_plan
from ossctl.planning.settings import LoadMode
from ossctl.planning.shape import KvType, LayerShape, ModelShape
from ossctl.planning.workload import Overrides, Purpose, Workload

SHAPES = {
    "20b": known_shapes()["ggml-org/gpt-oss-20b-GGUF/gpt-oss-20b-MXFP4.gguf"],
    "120b": known_shapes()["ggml-org/gpt-oss-120b-GGUF/gpt-oss-120b-mxfp4-00001-of-00003.gguf"],
}
BATCH = Workload(Purpose.BATCH)


def machine(*vram: float, ram: float = 64, backend: str = "CUDA", shares_ram: bool = False) -> Machine:
    """A machine with GPUs of `vram` GiB and with `ram` GiB, of which 2.5 % and 5 % are in use."""
    devices = tuple(
        Device(f"{backend}{n}", backend, "", int(size * 0.975 * GIB), int(size * GIB), shares_ram)
        for n, size in enumerate(vram)
    )
    return Machine(devices, int(ram * GIB), int(ram * 0.95 * GIB), cores=8)


def plan(model: str, on: Machine, workload: Workload | None = None, **overrides: object) -> Plan:
    return make_plan(on, SHAPES[model], workload or Workload(), Overrides(**overrides))  # type: ignore[arg-type]


def in_ram(found: Plan) -> int:
    return len(found.settings.experts_in_ram)


# GPU in GiB, model, context, ubatch, and in how many layers the experts were kept in RAM
PUBLISHED = {
    "RTX 2060, full context": (8, "20b", 131_072, 2048, 22),
    "RTX 2060": (8, "20b", 32_768, 2048, 16),
    "RTX 2060, 120b": (8, "120b", 32_768, 2048, 35),
    "RTX 4060 Laptop": (8, "20b", 16_384, 2048, 14),
    "RTX 3060": (12, "20b", 16_384, None, 2),
    "RTX 3060, short": (12, "20b", 2_048, None, 0),
    "RTX 4060 Ti, where Ollama left out layers": (16, "20b", 8_192, None, 0),
    "RTX 5060 Ti": (16, "20b", 32_768, 2048, 0),
    "RTX 4080 SUPER": (16, "20b", 32_768, 2048, 0),
    "V100": (16, "20b", 32_768, 4096, 0),
    "16 GB, 120b": (16, "120b", 32_768, 4096, 32),
    "RTX 4090": (24, "20b", 131_072, 2048, 0),
    "RTX 5090": (32, "20b", 131_072, 2048, 0),
    "RTX Pro 6000, 120b": (96, "120b", 131_072, 2048, 0),
    "H100, 120b": (80, "120b", 131_072, 2048, 0),
}


def test_no_layers_on_a_device_that_is_named_is_a_plan_without_it() -> None:
    found = plan("20b", machine(24), gpu_layers=0, devices=("CUDA0",))
    assert (found.settings.gpu_layers, found.settings.devices) == (0, ())
    with pytest.raises(UsageError, match="there is no device CUDA7"):
        plan("20b", machine(24), gpu_layers=0, devices=("CUDA7",))


def test_layers_for_gpus_that_the_machine_lacks_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="needs a GPU, but"):
        plan("20b", machine(), gpu_layers=25)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configurations_fit_with_settings_at_least_as_good(name: str) -> None:
    vram, model, ctx, ubatch, published = PUBLISHED[name]
    found = plan(model, machine(vram), ctx=ctx, ubatch=ubatch)
    assert found.settings.ctx == ctx
    assert found.settings.ubatch >= (ubatch or 512)
    assert found.settings.gpu_layers == found.shape.n_layers + 1
    assert in_ram(found) <= published


def test_the_error_for_a_published_failure_names_the_largest_context_that_fits() -> None:
    with pytest.raises(MemoryShortage) as error:
        plan("20b", machine(16), ctx=131_072, ubatch=4096, cpu_moe=0)
    assert "--ctx" in error.value.message
    nearest = int(error.value.hint.rpartition("--ctx ")[2].rstrip("."))
    assert nearest < 131_072
    assert plan("20b", machine(16), ctx=nearest, ubatch=4096, cpu_moe=0).settings.ctx == nearest


@pytest.mark.parametrize(("vram", "ram", "backend"), [(119.7, 119.7, "CUDA"), (147, 192, "Metal")])
def test_memory_shared_with_the_cpu_holds_120b_with_its_whole_context(
    vram: float, ram: float, backend: str
) -> None:
    found = plan("120b", machine(vram, ram=ram, backend=backend, shares_ram=True), ubatch=2048)
    assert found.all_on_gpu
    assert found.settings.ctx == 131_072


def test_shared_memory_is_not_counted_twice() -> None:
    with pytest.raises(MemoryShortage, match=r"57\.6 GiB of RAM, of which the GPU can use 62\.4 GiB$"):
        plan("120b", machine(64, ram=64, backend="Metal", shares_ram=True))


def test_16_gib_give_20b_its_full_context() -> None:
    found = plan("20b", machine(16))
    assert found.all_on_gpu
    assert found.settings.ctx == 131_072
    assert found.settings.ubatch == 2048


def test_on_a_small_gpu_experts_go_to_ram_before_anything_else() -> None:
    found = plan("20b", machine(8, ram=32))
    assert found.settings.gpu_layers == 25
    assert 0 < in_ram(found) < 16
    assert found.settings.ctx >= 32_768
    assert found.settings.ubatch == 2048
    assert found.settings.load_mode is LoadMode.READ
    assert not found.settings.repack


# GPU in GiB, and the context if the user sets it
LONG = {
    "RTX 3090": (24, None),
    "RTX 5090": (32, None),
    "16 GB": (16, None),
    "8 GB": (8, None),
    "24 GB, a context": (24, 32_768),
    "48 GB, a context": (48, 32_768),
}


@pytest.mark.parametrize("name", LONG)
def test_with_large_experts_in_ram_the_ubatch_is_8192(name: str) -> None:
    """On an RTX 3090, prefill was 1,682 tokens/s with a ubatch of 4,096 and 2,091 with 8,192."""
    vram, ctx = LONG[name]
    found = plan("120b", machine(vram, ram=96), ctx=ctx)
    assert found.settings.ubatch == found.settings.batch == 8_192
    before = plan("120b", machine(vram, ram=96), ctx=ctx, ubatch=4_096)
    assert in_ram(before) <= in_ram(found) <= in_ram(before) + 1
    assert found.settings.ctx >= (ctx or max(32_768, 0.87 * before.settings.ctx))


@pytest.mark.parametrize("workload", [Workload(), BATCH, Workload(request_tokens=20_000)])
def test_a_larger_ubatch_costs_generation_a_few_percent_at_most(workload: Workload) -> None:
    """The time of a token is that of reading weights, from RAM ten times as slowly."""
    taken = set()
    for vram in range(6, 64, 2):
        found = plan("120b", machine(vram, ram=96), workload)
        before = plan("120b", machine(vram, ram=96), workload, ubatch=4_096)
        one_layer = 4 / 128 * found.shape.layers[0].expert_bytes
        times = [each.shape.active_bytes + 9 * one_layer * in_ram(each) for each in (before, found)]
        assert times[1] <= times[0] / 0.95
        taken.add(found.settings.ubatch)
    assert taken >= {4_096, 8_192}


def test_a_ubatch_of_8192_needs_large_experts_copied_to_a_gpu_and_a_context_as_long() -> None:
    assert plan("20b", machine(8), ctx=32_768).settings.ubatch <= 4_096
    assert plan("120b", machine(24, ram=96), Workload(request_tokens=6_000)).settings.ubatch == 4_096
    assert plan("120b", machine(24, ram=96, backend="RPC")).settings.ubatch == 4_096
    assert plan("120b", machine(24, ram=96), ubatch=2_048).settings.ubatch == 2_048


def test_a_short_request_gets_a_short_context() -> None:
    short = Workload(request_tokens=6_000)
    assert plan("20b", machine(16), short).settings.ctx == 6_000
    assert in_ram(plan("20b", machine(8), short)) < in_ram(plan("20b", machine(8)))
    assert plan("20b", machine(16), Workload(request_tokens=1_000_000)).settings.ctx == 131_072
    assert plan("20b", machine(16), short, ctx=10_000).settings.ctx == 10_000


def test_without_a_gpu_everything_is_in_ram_and_all_cores_are_used() -> None:
    found = plan("20b", machine(ram=32))
    assert found.settings.gpu_layers == 0
    assert found.settings.devices == ()
    assert found.settings.threads == 8
    assert found.settings.ctx == 131_072


def test_weights_are_repacked_for_a_long_batch_with_ram_for_both_copies() -> None:
    assert plan("20b", machine(ram=32), BATCH).settings.repack
    assert not plan("20b", machine(ram=20), BATCH).settings.repack
    assert not plan("20b", machine(ram=32), Workload(Purpose.BATCH, 3)).settings.repack
    assert not plan("20b", machine(ram=32)).settings.repack


@pytest.mark.parametrize(
    "workload", [Workload(request_tokens=6_000), Workload(request_tokens=6_000, conversations=4)]
)
def test_on_a_cpu_attention_is_plain_if_its_scores_fit(workload: Workload) -> None:
    roomy, narrow = plan("20b", machine(ram=24), workload), plan("20b", machine(ram=15), workload)
    assert (roomy.settings.flash_attention, narrow.settings.flash_attention) == (False, True)
    assert replace(roomy.settings, flash_attention=True) == narrow.settings


def test_lengths_of_prompt_and_answer_decide_about_flash_attention_on_a_cpu() -> None:
    roomy = machine(ram=48)
    costs = replace(roomy, attention=AttentionCosts(1e-9, 2e-9, 60e-9, 20e-9))
    jobs = {(4_000, 500): False, (4_000, 10): True, (100, 10): False, (60_000, 500): True}
    for (prompt, answer), flash in jobs.items():
        found = plan("20b", costs, Workload(prompt_tokens=prompt, answer_tokens=answer))
        assert found.settings.flash_attention is flash, (prompt, answer)
    never = replace(roomy, attention=AttentionCosts(1e-9, 2e-9, 20e-9, 20e-9))
    assert plan("20b", never, Workload(prompt_tokens=10, answer_tokens=10_000)).settings.flash_attention


def test_short_requests_of_a_batch_and_a_unified_cache_keep_flash_attention() -> None:
    roomy = machine(ram=64)

    def flash(prompt: int, answer: int, **overrides: object) -> bool:
        workload = Workload(Purpose.BATCH, 50, prompt_tokens=prompt, answer_tokens=answer)
        return plan("20b", roomy, workload, **overrides).settings.flash_attention

    assert flash(40, 60)
    assert not flash(400, 300)
    assert flash(4_000, 5)
    shared = plan(
        "20b", machine(ram=20), Workload(Purpose.BATCH, 50, prompt_tokens=400, answer_tokens=300), ctx=65_536
    )
    assert shared.settings.unified
    assert shared.settings.flash_attention
    assert not plan("20b", machine(ram=48), Workload(conversations=4), ctx=8192).settings.flash_attention


def test_a_long_context_is_preferred_to_plain_attention() -> None:
    found = plan("20b", machine(ram=32))
    assert (found.settings.ctx, found.settings.flash_attention) == (131_072, True)
    assert not plan("20b", machine(ram=64)).settings.flash_attention


def test_plain_attention_leaves_as_much_ram_free_as_unmapped_weights() -> None:
    short = Workload(request_tokens=6_000)
    plans = [plan("20b", machine(ram=ram / 8), short) for ram in range(112, 160)]
    plain = [found for found in plans if not found.settings.flash_attention]
    assert 0 < len(plain) < len(plans)
    assert all(found.headroom >= ram_margin(found.machine) for found in plain)


def test_a_gpu_a_quantised_cache_and_mla_keep_flash_attention() -> None:
    assert plan("20b", machine(24), ctx=4096).settings.flash_attention
    assert plan("20b", machine(4, ram=64), ctx=4096).settings.flash_attention
    assert plan("20b", machine(ram=64), ctx=4096, kv_type=KvType.Q8_0).settings.flash_attention
    assert not plan("20b", machine(24), ctx=4096, devices=()).settings.flash_attention
    shape = dense(4, 1 << 20)
    latent = replace(shape, layers=(LayerShape(1 << 20, 0, 576, 0),) * 4)
    overrides = Overrides(ctx=4096)
    assert not make_plan(machine(), shape, Workload(), overrides).settings.flash_attention
    assert make_plan(machine(), latent, Workload(), overrides).settings.flash_attention


def test_a_batch_gets_as_many_sequences_as_are_useful_and_fit() -> None:
    assert plan("20b", machine(16), BATCH).settings.parallel > 32
    assert plan("20b", machine(16), Workload(Purpose.BATCH, 3)).settings.parallel == 3
    assert plan("20b", machine(80), BATCH).settings.parallel == 64
    assert plan("20b", machine(8), BATCH).settings.parallel <= 16  # fewer than are computed on the GPU


@pytest.mark.parametrize(
    ("where", "sequences"),
    [(machine(16), 64), (machine(24), 64), (machine(12), 16), (machine(ram=24), 8)],
    ids=["16 GB", "24 GB", "12 GB, experts in RAM", "no GPU"],
)
def test_sequences_of_a_batch_share_a_long_context(where: Machine, sequences: int) -> None:
    found = plan("20b", where, BATCH, ctx=131_072)
    assert found.settings.unified
    assert found.settings.parallel == sequences
    assert plan("20b", where, Workload(Purpose.BATCH, 5), ctx=131_072).settings.parallel == 5
    assert plan("20b", where, BATCH, ctx=131_072, parallel=2).settings.parallel == 2


def test_a_unified_cache_is_preferred_to_experts_in_ram() -> None:
    found = plan("20b", machine(16), BATCH, ctx=65_536)
    assert found.settings.unified
    assert in_ram(found) == 0


@pytest.mark.parametrize(("vram", "model"), [(8, "20b"), (16, "20b"), (24, "120b"), (80, "120b")])
def test_a_plan_for_a_program_that_reserves_all_logits_includes_them(vram: float, model: str) -> None:
    found = plan(model, machine(vram, ram=96), Workload(all_logits=True))
    (compute,) = [use.compute for use in found.prediction.devices]
    assert compute >= found.settings.n_ubatch * found.shape.n_vocab * 4
    bare = predict(found.shape, replace(found.settings, all_logits=False), found.devices)
    assert compute > bare.devices[0].compute
    assert found.headroom >= 0


def test_several_gpus_are_filled_evenly() -> None:
    found = plan("120b", machine(24, 24, 24, 24))
    assert found.all_on_gpu
    assert sum(found.settings.device_layers) == 37
    totals = [use.total for use in found.prediction.devices]
    assert max(totals) - min(totals) < 2.1 * 1.62 * GIB  # one layer more or less


def test_gpus_of_different_sizes_are_all_filled() -> None:
    found = plan("120b", machine(48, 24, ram=96))
    assert found.settings.gpu_layers == 37
    for device, use in zip(found.devices, found.prediction.devices, strict=True):
        assert 0.9 * device.free < use.total <= device.free


def test_a_model_that_fits_one_gpu_is_not_split() -> None:
    found = plan("20b", machine(16, 24))
    assert found.settings.devices == ("CUDA1",)


def test_a_model_is_split_between_two_gpus_that_are_too_small_alone() -> None:
    found = plan("20b", machine(8, 8))
    assert found.all_on_gpu
    assert found.settings.devices == ("CUDA0", "CUDA1")


def dense(n_layers: int, layer_bytes: int) -> ModelShape:
    layers = tuple(LayerShape(layer_bytes, 0, 1024, 1024) for _ in range(n_layers))
    return ModelShape(
        "dense", "llama", 131_072, 128_256, 4096, 4096, 4096, 128, 14_336, 0, 0, 0, layers,
        300 << 20, 400 << 20, tied_bytes=0, file_bytes=n_layers * layer_bytes,
    )  # fmt: skip


def test_weights_are_repacked_if_it_pays_and_the_kernels_work() -> None:
    large = dense(32, 140 << 20)
    cases = {(False, True): False, (True, True): True, (True, False): False}
    for (amx, extra), repack in cases.items():
        on = replace(machine(ram=64), amx=amx and extra, extra_kernels=extra)
        assert make_plan(on, large, Workload(), Overrides()).settings.repack is repack
    small, broken = dense(4, 1 << 20), replace(machine(ram=64), extra_kernels=False)
    assert make_plan(machine(ram=64), small, Workload(), Overrides()).settings.repack
    assert not make_plan(broken, small, Workload(Purpose.BATCH), Overrides()).settings.repack
    assert not plan("20b", replace(machine(ram=64), amx=True)).settings.repack  # experts, mostly


def test_a_dense_model_keeps_its_layers_on_the_gpu_and_shrinks_its_context() -> None:
    shape = dense(32, 140 << 20)
    found = make_plan(machine(8), shape, Workload(), Overrides())
    assert found.settings.gpu_layers == 33
    assert 8_192 <= found.settings.ctx < 131_072
    larger = make_plan(machine(4), shape, Workload(), Overrides())
    assert 0 < larger.settings.gpu_layers < 33


def test_the_error_for_a_model_that_does_not_fit_says_what_it_needs() -> None:
    with pytest.raises(MemoryShortage, match=r"gpt-oss-120b does not fit into 14\.4 GiB of RAM") as error:
        plan("120b", machine(ram=16))
    assert "needs 6" in error.value.hint
    assert error.value.exit_code == 5


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"ctx": 200_000}, "more than the 131,072"),
        ({"devices": ("CUDA7",)}, "no device CUDA7"),
        ({"devices": (), "gpu_layers": 5}, "--gpu-layers 5 and --device cpu cannot be combined"),
        ({"devices": (), "cpu_moe": 5}, "needs a GPU: without one"),
        ({"gpu_layers": 5, "cpu_moe": 2}, "keeps 20 layers"),
    ],
)
def test_contradictory_overrides_are_a_usage_error(overrides: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make_plan(machine(16), SHAPES["20b"], Workload(), Overrides(**overrides))  # type: ignore[arg-type]


def test_a_quantised_cache_needs_head_sizes_of_whole_blocks() -> None:
    shape = dense(4, 1 << 20)
    odd = replace(shape, layers=(LayerShape(1 << 20, 0, 80, 80),))
    with pytest.raises(UsageError, match="multiples of 32"):
        make_plan(machine(), odd, Workload(), Overrides(kv_type=KvType.Q8_0))


def test_cpu_moe_is_a_usage_error_for_a_dense_model() -> None:
    with pytest.raises(UsageError, match="is dense"):
        make_plan(machine(8), dense(4, 1 << 20), Workload(), Overrides(cpu_moe=1))


@pytest.mark.parametrize("on", [machine(), machine(16), machine(16, 16)], ids=["no GPU", "16 GB", "two GPUs"])
def test_several_chats_share_one_cache_and_cost_little_more_than_one(on: Machine) -> None:
    one, four = plan("20b", on), plan("20b", on, Workload(conversations=4))
    assert (four.settings.parallel, four.settings.unified) == (4, True)
    assert four.settings.ctx >= 0.98 * one.settings.ctx
    assert four.settings.gpu_layers == one.settings.gpu_layers
    assert len(four.settings.experts_in_ram) == len(one.settings.experts_in_ram)
