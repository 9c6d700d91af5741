"""Options of commands that run several models, and each in several ways of reasoning."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ossctl.cli.completion import complete_models
from ossctl.cli.offer import model_file
from ossctl.cli.options import is_standing
from ossctl.cli.output import Output

if TYPE_CHECKING:
    from ossctl.app.library.references import Given
    from ossctl.app.placement.load_options import LoadOptions


@dataclass(frozen=True)
class Contestants:
    """Models, and lists of efforts and switches as the user wrote them.

    `from_environment` are those of `effort` and `think` that the environment sets.
    """

    references: Sequence[str]
    efforts: str
    thinks: str
    from_environment: frozenset[str]

    def models(self, loading: "LoadOptions", out: Output) -> "list[Given]":
        """The models, or the default one. Raises UsageError, ModelError."""
        from ossctl.app.library.references import split_references

        names: list[str | None] = [*split_references(self.references)]
        return [given_model(name, loading, out) for name in names or [os.environ.get("OSSCTL_MODEL") or None]]


def given_model(reference: str | None, loading: "LoadOptions", out: Output) -> "Given":
    """A model that can answer, which may have to be chosen or downloaded. Raises UsageError, ModelError."""
    from ossctl.app.library.references import given

    return given(reference, model_file(reference, loading, out))


def contestant_options(
    *,
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--model",
            metavar="MODEL[,MODEL]...",
            show_default=False,
            autocompletion=complete_models,
            help="Models by name or path, loaded one after the other; can be repeated.  [default: "
            "OSSCTL_MODEL, or the largest gpt-oss on this machine that fits]",
        ),
    ] = None,
    efforts: Annotated[
        str,
        typer.Option(
            "-e",
            "--effort",
            envvar="OSSCTL_EFFORT",
            metavar="EFFORT[,EFFORT]",
            show_default=False,
            help="Reasoning efforts to run: low, medium, high.  [default: the model's]",
        ),
    ] = "",
    thinks: Annotated[
        str,
        typer.Option(
            "--think",
            envvar="OSSCTL_THINK",
            metavar="on,off,auto",
            show_default=False,
            help="Run with reasoning switched on and off, if the chat template has a switch.",
        ),
    ] = "",
) -> Contestants:
    """Who answers."""
    options = {"effort": "efforts", "think": "thinks"}
    standing = {name for name, option in options.items() if is_standing(context, option)}
    return Contestants(models or (), efforts, thinks, frozenset(standing))


ContestantGroup = Annotated[Contestants, contestant_options]
