"""What results say of models, of this machine and of the versions of programs."""

from collections import Counter
from importlib.metadata import version

from ossctl import __version__
from ossctl.app.eval.results import Model
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.library.references import Given
from ossctl.app.placement.fingerprint import fingerprint_of
from ossctl.app.placement.machine import this_machine
from ossctl.app.placement.shapes import shards_of
from ossctl.hub.catalogue import catalogue
from ossctl.hub.shards import quantisation_of
from ossctl.planning.machine import GIB
from ossctl.runtime.inspection import bytes_by_type

_BILLION = 10**9


def describe_model(given: Given, loaded: LoadedModel) -> Model:
    """A loaded model. Parameters are known of models in the catalogue. Raises ModelError."""
    entry = catalogue().find(given.reference)
    shards = shards_of(given.path)
    types = sum(map(bytes_by_type, shards), Counter[str]())
    return Model(
        name=given.name,
        file=given.path.name,
        fingerprint=fingerprint_of(shards).hex(),
        quantization=quantisation_of(given.path.name) or max(types, key=types.__getitem__, default=""),
        total_parameters=round(entry.model.total * _BILLION) if entry else 0,
        active_parameters=round(entry.model.active * _BILLION) if entry else 0,
        context=loaded.runner.n_ctx_seq,
        n_sequences=loaded.runner.n_seq,
    )


def describe_machine() -> str:
    """`H100 80 GB, 26 cores`"""
    machine = this_machine()
    devices = [f"{each.description} {each.total / GIB:.0f} GB" for each in machine.devices]
    cores = f"{machine.cores} core{'s' if machine.cores > 1 else ''}"
    return ", ".join([*devices, cores, *([] if devices else [f"{machine.ram_total / GIB:.0f} GB of RAM"])])


def versions() -> dict[str, str]:
    """Of what the figures depend on."""
    packages = ("llama-cpp-python", "inspect-ai", "inspect-evals")
    return {"ossctl": __version__, **{package: version(package) for package in packages}}
