"""`ossctl alias`: names of your own for models."""

from typing import Annotated

import typer

from ossctl.cli.command import command
from ossctl.cli.completion import complete_alias, complete_model
from ossctl.cli.config import ProjectOption, path_to_write
from ossctl.cli.options import JsonOutput
from ossctl.cli.output import Output
from ossctl.errors import UsageError


@command
def alias(
    *,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            show_default=False,
            autocompletion=complete_alias,
            help="The alias.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            show_default=False,
            autocompletion=complete_model,
            help="The model it names: a name, hf:ORG/REPO…, a path or another alias.",
        ),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the alias, with its options.")] = False,
    project: ProjectOption = False,
    out: JsonOutput,
) -> None:
    """List, show, set or delete aliases of models.

    An alias may have options of its own: `ossctl config set model.NAME.ctx 16384`.
    """
    from ossctl.config.config import load_config
    from ossctl.config.trust import MODEL
    from ossctl.config.writing import set_value, unset_value

    if delete and (name is None or model is not None):
        raise UsageError("--delete needs the NAME of an alias, and nothing else")
    target = path_to_write(project=project)
    if name is None or (model is None and not delete):
        _show(name, out)
    elif delete:
        if not unset_value(target, (MODEL, name)):
            raise UsageError(f"there is no alias {name} in {target}")
        out.note(f"{name} is deleted from {target}.")
    elif model is not None:
        from ossctl.app.library.resolve import check_name

        config = load_config()
        chain = config.model_chain(model)
        if name in chain[:-1] or (name in chain and name != model):
            raise UsageError(f"the aliases would form a cycle: {' -> '.join([name, *chain])}")
        check_name(chain[-1])
        set_value(target, (MODEL, name, MODEL), model)
        out.note(f"{name} now stands for {model}.")


def _show(name: str | None, out: Output) -> None:
    from ossctl.config.config import load_config, nearest

    aliases = load_config().aliases()
    if name is not None and name not in aliases:
        raise UsageError(f"there is no alias {name}", nearest(name, aliases))
    chosen = {each: setting for each, setting in aliases.items() if name in (None, each)}
    records = [
        {"name": each, "model": setting.value, "origin": setting.file.where(setting.key)}
        for each, setting in chosen.items()
    ]
    out.json({"schema": "ossctl.aliases/1", "aliases": records})
    if records:
        out.table([(each["name"], each["model"], each["origin"]) for each in records])
    else:
        out.note("There are no aliases. `ossctl alias NAME MODEL` sets one.")
