"""`hf:ORG/REPO[:FILE-or-QUANT][@REVISION]`: a model on the hub."""

import re
from dataclasses import dataclass

from ossctl.errors import ModelError, UsageError
from ossctl.hub.shards import first_names, matching, quantisation_of

PREFIX = "hf:"
MAIN = "main"

_FORM = re.compile(
    r"hf:(?P<repo>[\w.-]+/[\w.-]+)(:(?P<selector>[^@:]+))?(@(?P<revision>[^@:\s]+))?", re.ASCII
)


@dataclass(frozen=True)
class HubReference:
    """A repository, what selects a model in it ("" where it has one only), and a branch, tag or commit."""

    repo: str
    selector: str = ""
    revision: str = MAIN

    @classmethod
    def parse(cls, text: str) -> "HubReference":
        """Raises UsageError."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise UsageError(
                f"{text} is not a reference to a model on the hub",
                "It is written hf:ORG/REPO, hf:ORG/REPO:Q4_K_M or hf:ORG/REPO:FILE.gguf@REVISION.",
            )
        return cls(match["repo"], match["selector"] or "", match["revision"] or MAIN)

    def selects(self, first_file: str) -> bool:
        """Whether this may mean the model with that first file."""
        return not self.selector or bool(matching([first_file], self.selector))

    def __str__(self) -> str:
        selector = f":{self.selector}" if self.selector else ""
        revision = "" if self.revision == MAIN else f"@{self.revision}"
        return f"{PREFIX}{self.repo}{selector}{revision}"


def select(reference: HubReference, names: list[str]) -> str:
    """The first file of the model that `reference` means among the files `names` of its repository.

    Raises ModelError if there is none, UsageError if there are several.
    """
    models = first_names(names)
    if not models:
        held = ", ".join(sorted(names)[:8]) or "nothing"
        raise ModelError(
            f"{reference.repo} has no GGUF files; it holds {held}{', …' if len(names) > 8 else ''}",
            "Look for a repository of the same model whose name ends with -GGUF.",
        )
    found = matching(models, reference.selector) if reference.selector else models
    if len(found) == 1:
        return found[0]
    choices = [quantisation_of(name) or name for name in found or models]
    if len(set(choices)) < len(choices):
        choices = found or models
    listed = ", ".join(choices[:30]) + (", …" if len(choices) > 30 else "")
    if not found:
        message = f"{reference.repo} has nothing called {reference.selector}; it has {listed}"
        raise ModelError(message, f"For example {_example(reference, choices[0])}")
    which = f" called {reference.selector}" if reference.selector else ""
    message = f"{reference.repo} has {len(found)} models{which}: {listed}"
    raise UsageError(message, f"Say which one, for example {_example(reference, choices[0])}")


def _example(reference: HubReference, choice: str) -> HubReference:
    return HubReference(reference.repo, choice, reference.revision)
