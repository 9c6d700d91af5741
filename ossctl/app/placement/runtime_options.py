"""The settings of a plan as llama.cpp gets them."""

from typing import TYPE_CHECKING

from ossctl.planning.settings import Settings

if TYPE_CHECKING:  # these load llama.cpp's library
    from ossctl.runtime.context import ContextOptions
    from ossctl.runtime.model import ModelOptions


def model_options(settings: Settings, *, only_reserve: bool = False) -> "ModelOptions":
    """How to load the weights, or with `only_reserve` how to read the header alone."""
    from ossctl.runtime.model import ModelOptions

    return ModelOptions(
        n_gpu_layers=settings.gpu_layers,
        devices=settings.devices,
        device_layers=settings.device_layers,
        experts_in_ram=settings.experts_in_ram if settings.devices else (),
        load_mode=settings.load_mode.value,
        repack=settings.repack,
        only_reserve=only_reserve,
    )


def context_options(settings: Settings) -> "ContextOptions":
    """The context that a plan counts the memory of."""
    from ossctl.runtime.context import ContextOptions

    return ContextOptions(
        n_ctx=settings.ctx,
        n_seq=settings.parallel,
        n_batch=settings.batch,
        n_ubatch=settings.ubatch,
        unified=settings.unified,
        n_threads=settings.threads,
        kv_type=settings.kv_type.value,
        flash_attention=settings.flash_attention,
        n_outputs=settings.n_outputs
        if settings.all_logits
        else min(settings.parallel + settings.draft, settings.batch),
    )
