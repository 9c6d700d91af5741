"""References to models on the hub: `hf:ORG/REPO[:FILE-or-QUANT][@REVISION]`, and addresses of pages."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from ossctl.errors import ModelError, UsageError
from ossctl.hub.shards import first_shards, matching, quantisation_of

PREFIX = "hf:"
MAIN = "main"

_FORM = re.compile(
    r"hf:(?P<repo>[\w.-]+/[\w.-]+)(:(?P<selector>[^@:]+))?(@(?P<revision>[^@:\s]+))?", re.ASCII
)


_ADDRESS = re.compile(
    r"(https?://)?(www\.)?(huggingface\.co|hf\.co)/(?P<repo>[\w.-]+/[\w.-]+)"
    r"(/(blob|resolve|raw|tree)/(?P<revision>[^/]+)(/(?P<path>.+))?|:(?P<selector>[^@:/]+))?/?",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True)
class HubReference:
    """A model in a repository at a branch, tag or commit.

    `selector` is a file name or quantisation, or "" for a repository with a single model.
    """

    repo: str
    selector: str = ""
    revision: str = MAIN

    @classmethod
    def parse(cls, text: str) -> "HubReference":
        """Raises UsageError."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise UsageError(
                f"{text} is not a valid reference to a model on the hub",
                "Write hf:ORG/REPO, hf:ORG/REPO:Q4_K_M or hf:ORG/REPO:FILE.gguf@REVISION.",
            )
        return cls(match["repo"], match["selector"] or "", match["revision"] or MAIN)

    @classmethod
    def of_address(cls, text: str) -> "HubReference | None":
        """The model of a page, as `https://huggingface.co/ORG/REPO/blob/main/FILE` or `hf.co/ORG/REPO:QUANT`.

        None for any other text.
        """
        match = _ADDRESS.fullmatch(re.sub(r"[?#].*", "", text.strip()))
        if match is None:
            return None
        path = unquote(match["path"] or "")
        selector = match["selector"] or (path if path.lower().endswith(".gguf") else "")
        return cls(match["repo"], selector, unquote(match["revision"] or MAIN))

    @classmethod
    def of_repo(cls, text: str) -> "HubReference | None":
        """The model that `ORG/REPO[:QUANT]` names, as for llama.cpp's -hf; None for any other text."""
        match = _FORM.fullmatch(f"{PREFIX}{text}")
        is_file = text.lower().endswith(".gguf") and (match is None or not match["selector"])
        return None if match is None or is_file or text.startswith(".") else cls.parse(f"{PREFIX}{text}")

    def selects(self, first_file: str) -> bool:
        """Whether the selector matches the model whose first shard is `first_file`."""
        return not self.selector or bool(matching([first_file], self.selector))

    def __str__(self) -> str:
        selector = f":{self.selector}" if self.selector else ""
        revision = "" if self.revision == MAIN else f"@{self.revision}"
        return f"{PREFIX}{self.repo}{selector}{revision}"


def select(reference: HubReference, names: list[str]) -> str:
    """The first shard of the model that `reference` selects among the files `names` of its repository.

    Raises ModelError if there is none, UsageError if there are several.
    """
    models = first_shards(names)
    if not models and any(name.lower().endswith(".gguf") for name in names):
        raise ModelError(
            f"{reference.repo} has no model to chat with",
            "Its GGUF files are projectors, importance matrices or drafters.",
        )
    if not models:
        files = ", ".join(sorted(names)[:8]) or "no files"
        raise ModelError(
            f"{reference.repo} has no GGUF files; it has {files}{', …' if len(names) > 8 else ''}",
            "Look for a repository of the same model whose name ends in -GGUF.",
        )
    found = matching(models, reference.selector) if reference.selector else models
    if len(found) == 1:
        return found[0]
    choices = [quantisation_of(name) or name for name in found or models]
    if len(set(choices)) < len(choices):
        choices = found or models
    listed = ", ".join(choices[:30]) + (", …" if len(choices) > 30 else "")
    if not found:
        message = f"{reference.repo} has no model {reference.selector}; it has {listed}"
        raise ModelError(message, f"Choose one of them, for example {_example(reference, choices[0])}")
    which = f" matching {reference.selector}" if reference.selector else ""
    message = f"{reference.repo} has {len(found)} models{which}: {listed}"
    raise UsageError(message, f"Choose one, for example {_example(reference, choices[0])}")


def _example(reference: HubReference, choice: str) -> HubReference:
    return HubReference(reference.repo, choice, reference.revision)
