"""Who is compared: the product of models, templates, efforts and switches of the reasoning."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from ossctl.app.library.references import Given
from ossctl.app.placement.load_options import ChatTemplate
from ossctl.dialect import Effort, Think
from ossctl.errors import UsageError


@dataclass(frozen=True)
class Entrant:
    """A model with its settings, before it is loaded. `named` are the settings that its label names."""

    name: str
    model: Given
    template: ChatTemplate | None = None
    effort: Effort | None = None
    think: Think | None = None
    named: frozenset[str] = frozenset()

    @property
    def label(self) -> str:
        """The name, and each setting of which there are several; no other entrant has the same."""
        parts = [self.name]
        if "template" in self.named:
            parts.append(self.template.path.name if self.template else "own template")
        if "effort" in self.named and self.effort:
            parts.append(self.effort)
        if "think" in self.named and self.think:
            parts.append(f"think {self.think}")
        return " · ".join(parts)

    @property
    def place(self) -> tuple[Path, Path | None]:
        """What has to be loaded; entrants with the same one share it."""
        return self.model.path, self.template.path if self.template else None

    @property
    def settings(self) -> tuple[Path, Path | None, Effort | None, Think | None]:
        """All that makes it different from others."""
        return *self.place, self.effort, self.think

    def supported(self, settings: frozenset[str]) -> "Entrant":
        """The entrant without the settings of reasoning that its model does not have."""
        effort = self.effort if "effort" in settings else None
        return replace(self, effort=effort, think=self.think if "think" in settings else None)

    @property
    def possible_labels(self) -> set[str]:
        """Its labels with any of its settings left out."""
        subsets = ((), ("effort",), ("think",), ("effort", "think"))
        return {self.supported(frozenset(subset)).label for subset in subsets}


@dataclass(frozen=True)
class Settings:
    """The settings to combine with each model; None is the model's own."""

    templates: Sequence[ChatTemplate | None] = (None,)
    efforts: Sequence[Effort | None] = (None,)
    thinks: Sequence[Think | None] = (None,)


def entrants_of(models: Sequence[Given], settings: Settings) -> list[Entrant]:
    """All combinations. Raises UsageError if one is given twice, or there is only one."""
    several = {"template": settings.templates, "effort": settings.efforts, "think": settings.thinks}
    named = frozenset(name for name, values in several.items() if len(values) > 1)
    names = _short_names(models)
    combined = product(zip(models, names, strict=True), settings.templates, settings.efforts, settings.thinks)
    found = [
        Entrant(name, model, template, effort, think, named)
        for (model, name), template, effort, think in combined
    ]
    seen: dict[object, Entrant] = {}
    for entrant in found:
        other = seen.setdefault(entrant.settings, entrant)
        if other is not entrant:
            _refuse_twice(other, entrant)
    if len(found) < 2:
        raise UsageError(
            "there is nothing to compare: one model, and one setting of it",
            "Give several models, as in -m A,B, or several values of --effort, --think or --template.",
        )
    return found


def _refuse_twice(first: Entrant, second: Entrant) -> None:
    if first.model.reference == second.model.reference:
        raise UsageError(f"{second.label} is given twice")
    raise UsageError(f"{first.model.reference} and {second.model.reference} are the same model")


def _short_names(models: Sequence[Given]) -> list[str]:
    """A name for each model; the reference where models would have the same name."""
    counts = Counter(model.name for model in models)
    return [model.name if counts[model.name] == 1 else model.reference for model in models]
