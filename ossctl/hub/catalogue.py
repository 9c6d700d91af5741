"""The models that are known by name: `data/catalogue.toml`."""

import difflib
import functools
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ossctl.data import DATA
from ossctl.hub.reference import MAIN, HubReference
from ossctl.hub.shards import names_of_model

_FILE = DATA / "catalogue.toml"


@dataclass(frozen=True)
class KnownFile:
    """A file as it was when the catalogue was written. `sha256` is "" where it is not known."""

    name: str
    n_bytes: int
    sha256: str = ""


@dataclass(frozen=True)
class Variant:
    """One way to store a model. `gigabytes` (10^9 bytes) is about right; `files` are exact where known.

    `reference` means any revision, as may be on disk already, and `others` are files of other revisions; what
    is fetched is the one that was written down: `pinned`.
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
    """A model, its names, and its variants, the usual one first. `context` in tokens, None if not known."""

    name: str
    aliases: tuple[str, ...]
    licence: str
    shape: str
    context: int | None
    about: str
    variants: tuple[Variant, ...]

    @property
    def short_name(self) -> str:
        """The name that is quickest to type."""
        return self.aliases[0] if self.aliases else self.name

    def name_of(self, variant: Variant) -> str:
        """The reference that means `variant`: `20b`, or `20b:q4_k_m`."""
        return self.short_name if variant == self.variants[0] else f"{self.short_name}:{variant.name}"


@dataclass(frozen=True)
class Entry:
    """A variant of a model: what a name in the catalogue means."""

    model: CatalogueModel
    variant: Variant

    @property
    def name(self) -> str:
        return self.model.name_of(self.variant)


@dataclass(frozen=True)
class Catalogue:
    """All models that are known by name."""

    models: tuple[CatalogueModel, ...]

    @property
    def entries(self) -> Iterator[Entry]:
        for model in self.models:
            yield from (Entry(model, variant) for variant in model.variants)

    def find(self, text: str) -> Entry | None:
        """What `NAME[:VARIANT]` means, in capitals or not; None if it is not here."""
        name, _, wanted = text.lower().partition(":")
        for entry in self.entries:
            if name in (entry.model.name, *entry.model.aliases) and wanted in ("", entry.variant.name):
                return entry
        return None

    def entry(self, name: str) -> Entry:
        """What a name means that is known to be here."""
        found = self.find(name)
        if found is None:
            raise KeyError(name)
        return found

    def nearest(self, text: str, *more: str) -> list[str]:
        """The names, and `more`, that are most like `text`, the nearest first; none if nothing is."""
        names = {*more, *(entry.name for entry in self.entries), *(model.name for model in self.models)}
        return difflib.get_close_matches(text.lower(), sorted(names), n=2, cutoff=0.5)

    def known_file(self, repo: str, name: str) -> KnownFile | None:
        """What is known of the file `name` of the repository `repo`."""
        variants = (entry.variant for entry in self.entries if entry.variant.reference.repo == repo)
        files = (file for variant in variants for file in (*variant.files, *variant.others))
        return next((file for file in files if file.name == name), None)

    def name_of(self, repo: str, first_file: str, revision: str = MAIN) -> str | None:
        """The name of the model whose first file in `repo` is `first_file`, where that is known."""
        for entry in self.entries:
            variant = entry.variant
            known = revision in (MAIN, variant.revision)
            if known and variant.reference.repo == repo and variant.reference.selects(first_file):
                return entry.name
        return None

    def is_pinned(self, reference: HubReference) -> bool:
        """Whether `reference` is to the very revision that the catalogue has of its repository."""
        pinned = {(e.variant.reference.repo, e.variant.revision) for e in self.entries}
        return (reference.repo, reference.revision) in pinned

    def with_hash(self, sha256: str) -> Entry | None:
        """The variant that has a file with this hash."""
        return next((e for e in self.entries for f in e.variant.files if sha256 and f.sha256 == sha256), None)


@functools.cache
def catalogue() -> Catalogue:
    """The catalogue that comes with the package."""
    document = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return Catalogue(tuple(map(_model, document["model"])))


def _model(table: dict[str, Any]) -> CatalogueModel:
    return CatalogueModel(
        name=table["name"],
        aliases=tuple(table["aliases"]),
        licence=table["licence"],
        shape=table["shape"],
        context=table.get("context"),
        about=table["about"],
        variants=tuple(map(_variant, table["variant"])),
    )


def _variant(table: dict[str, Any]) -> Variant:
    files, earlier, later = (_known_files(table.get(key, ())) for key in ("files", "earlier", "later"))
    if files and tuple(file.name for file in files) != names_of_model(files[0].name):
        raise ValueError(f"the catalogue lacks shards of {files[0].name}")
    reference = HubReference(table["repo"], table["select"])
    revision = table.get("revision", MAIN)
    others = (*earlier, *later)
    return Variant(table["name"], reference, revision, table["gigabytes"], table["about"], files, others)


def _known_files(tables: Iterable[dict[str, Any]]) -> tuple[KnownFile, ...]:
    return tuple(KnownFile(table["name"], table["bytes"], table.get("sha256", "")) for table in tables)
