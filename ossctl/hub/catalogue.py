"""The models with short names: `data/catalogue.toml`."""

import difflib
import functools
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ossctl.data import DATA
from ossctl.hub.reference import MAIN, HubReference
from ossctl.hub.shards import shard_names

_FILE = DATA / "catalogue.toml"


@dataclass(frozen=True)
class KnownFile:
    """A file as of the catalogue's release. `sha256` is "" if it is not known."""

    name: str
    n_bytes: int
    sha256: str = ""


@dataclass(frozen=True)
class Variant:
    """One quantisation of a model. `gigabytes` (10^9 bytes) is approximate.

    `reference` matches any revision in the cache, while `pinned` is the revision that is downloaded. `files`
    are those of `revision`, empty if not known, and `others` those of other revisions.
    """

    name: str
    reference: HubReference
    revision: str
    gigabytes: float
    about: str
    files: tuple[KnownFile, ...]
    others: tuple[KnownFile, ...] = ()

    @property
    def pinned(self) -> HubReference:
        return replace(self.reference, revision=self.revision)


@dataclass(frozen=True)
class CatalogueModel:
    """A model with its variants, the default one first.

    `total` and `active` are billions of parameters, `context` is in tokens. `shape` is the rest of its size,
    `thinking` how its reasoning is switched.
    """

    name: str
    aliases: tuple[str, ...]
    licence: str
    total: float
    active: float
    shape: str
    context: int
    thinking: str
    about: str
    variants: tuple[Variant, ...]

    @property
    def parameters(self) -> str:
        """Total and active parameters as text."""
        active = "all" if self.active == self.total else f"{self.active:g} B"
        return f"{self.total:g} B, {active} active"

    @property
    def short_name(self) -> str:
        return self.aliases[0] if self.aliases else self.name

    def name_of(self, variant: Variant) -> str:
        """The name that selects `variant`: `20b`, or `20b:q4_k_m`."""
        return self.short_name if variant == self.variants[0] else f"{self.short_name}:{variant.name}"


@dataclass(frozen=True)
class Entry:
    """What a name in the catalogue stands for: a variant of a model."""

    model: CatalogueModel
    variant: Variant

    @property
    def name(self) -> str:
        return self.model.name_of(self.variant)


@dataclass(frozen=True)
class Catalogue:
    """Look up models by name, repository, file or hash."""

    models: tuple[CatalogueModel, ...]

    @property
    def entries(self) -> Iterator[Entry]:
        for model in self.models:
            yield from (Entry(model, variant) for variant in model.variants)

    def find(self, text: str) -> Entry | None:
        """The entry for `NAME[:VARIANT]`, ignoring case."""
        name, _, wanted = text.lower().partition(":")
        for entry in self.entries:
            if name in (entry.model.name, *entry.model.aliases) and wanted in ("", entry.variant.name):
                return entry
        return None

    def entry(self, name: str) -> Entry:
        """The entry for `name`. Raises KeyError if there is none."""
        found = self.find(name)
        if found is None:
            raise KeyError(name)
        return found

    def nearest(self, text: str, *more: str) -> list[str]:
        """Up to two names from the catalogue and `more` that are similar to `text`, best match first."""
        names = {*more, *(entry.name for entry in self.entries), *(model.name for model in self.models)}
        return difflib.get_close_matches(text.lower(), sorted(names), n=2, cutoff=0.5)

    def known_file(self, repo: str, name: str) -> KnownFile | None:
        """The file `name` of `repo`, if the catalogue has it."""
        variants = (entry.variant for entry in self.entries if entry.variant.reference.repo == repo)
        files = (file for variant in variants for file in (*variant.files, *variant.others))
        return next((file for file in files if file.name == name), None)

    def hashes_of(self, reference: HubReference) -> frozenset[str]:
        """The known hashes of the files that `reference` selects, at any revision."""
        return frozenset(
            file.sha256
            for entry in self.entries
            for file in (*entry.variant.files, *entry.variant.others)
            if entry.variant.reference.repo == reference.repo
            if file.sha256 and reference.selects(shard_names(file.name)[0])
        )

    def name_of(self, repo: str, first_file: str, revision: str = MAIN) -> str | None:
        """The name of the model whose first shard is `first_file` of `repo`, if the catalogue has it."""
        for entry in self.entries:
            variant = entry.variant
            known = revision in (MAIN, variant.revision)
            if known and variant.reference.repo == repo and variant.reference.selects(first_file):
                return entry.name
        return None

    def is_pinned(self, reference: HubReference) -> bool:
        """Whether `reference` has the revision that the catalogue pins for its repository."""
        pinned = {(e.variant.reference.repo, e.variant.revision) for e in self.entries}
        return (reference.repo, reference.revision) in pinned

    def find_by_hash(self, sha256: str) -> Entry | None:
        """The entry with a file that has this hash."""
        return next((e for e in self.entries for f in e.variant.files if sha256 and f.sha256 == sha256), None)


@functools.cache
def catalogue() -> Catalogue:
    """The catalogue shipped with this package."""
    document = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return Catalogue(tuple(map(_model, document["model"])))


def _model(table: dict[str, Any]) -> CatalogueModel:
    return CatalogueModel(
        name=table["name"],
        aliases=tuple(table["aliases"]),
        licence=table["licence"],
        total=table["total"],
        active=table.get("active", table["total"]),
        shape=table["shape"],
        context=table["context"],
        thinking=table["thinking"],
        about=table["about"],
        variants=tuple(map(_variant, table["variant"])),
    )


def _variant(table: dict[str, Any]) -> Variant:
    files, earlier, later = (_known_files(table.get(key, ())) for key in ("files", "earlier", "later"))
    if files and tuple(file.name for file in files) != shard_names(files[0].name):
        raise ValueError(f"the catalogue lacks shards of {files[0].name}")
    reference = HubReference(table["repo"], table["select"])
    revision = table.get("revision", MAIN)
    others = (*earlier, *later)
    return Variant(table["name"], reference, revision, table["gigabytes"], table["about"], files, others)


def _known_files(tables: Iterable[dict[str, Any]]) -> tuple[KnownFile, ...]:
    return tuple(KnownFile(table["name"], table["bytes"], table.get("sha256", "")) for table in tables)
