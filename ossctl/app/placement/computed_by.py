"""What computes with a model: weights, kernels and placement. States and speeds of others do not apply."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import msgspec

from ossctl.app.placement.fingerprint import fingerprint_of
from ossctl.app.placement.shapes import shards_of
from ossctl.planning.settings import Settings
from ossctl.runtime.devices import system_info
from ossctl.runtime.library import fingerprint


def state_key(path: Path, settings: Settings) -> bytes:
    """A hash of all that the state of a sequence depends on. Raises OSError.

    llama.cpp refuses states of another layout, but loads those of other weights or repacked tensors without
    an error.
    """
    return _hash(_computed_by(path, settings))


def speed_key(path: Path, settings: Settings) -> str:
    """A hash of all that decides the speed of a model, however large its context is. Raises OSError."""
    alone = replace(settings, unified=True)
    return _hash((*_computed_by(path, alone), settings.threads, settings.ubatch)).hex()


def _computed_by(path: Path, settings: Settings) -> Sequence[object]:
    shards = shards_of(path)
    return (
        fingerprint_of(shards),
        [shard.stat().st_mtime_ns for shard in shards],  # the fingerprint has samples of the weights alone
        fingerprint(),
        system_info(),
        settings.kv_type.value,
        settings.flash_attention,
        settings.repack,
        settings.streams,
        settings.devices,
        settings.gpu_layers,
        settings.device_layers,
        settings.experts_in_ram,
    )


def _hash(depends_on: Sequence[object]) -> bytes:
    return blake2b(msgspec.json.encode(depends_on), digest_size=16).digest()
