"""`ossctl config`: the config files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ossctl.cli.command import command
from ossctl.cli.completion import complete_key, complete_model, complete_preset
from ossctl.cli.options import JsonOutput, TextOutput
from ossctl.cli.output import Output
from ossctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ossctl.cli.config_keys import ConfigKeys
    from ossctl.config.key_lines import Key

config = typer.Typer(no_args_is_help=True, help="Show, check and change the config files.")

ProjectOption = Annotated[
    bool, typer.Option("--project", help="Use ossctl.toml in this folder instead of your user config.")
]
KeyArgument = Annotated[
    str,
    typer.Argument(
        metavar="KEY", autocompletion=complete_key, help="Section and option, such as run.temperature."
    ),
]


@config.command()
@command
def show(
    *,
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND", show_default=False, help="Show the effective options of this command."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="MODEL",
            show_default=False,
            autocompletion=complete_model,
            help="With COMMAND, for this model.",
        ),
    ] = None,
    presets: Annotated[
        list[str] | None,
        typer.Option(
            "-P",
            "--preset",
            metavar="NAME",
            show_default=False,
            autocompletion=complete_preset,
            help="With COMMAND, with this preset; can be repeated.",
        ),
    ] = None,
    out: JsonOutput,
) -> None:
    """Show the values that are set, and where each is from.

    Secrets are not shown.
    """
    from ossctl.cli.config_view import in_environment, in_files, of_command
    from ossctl.cli.configured import simulated
    from ossctl.config.config import load_config

    keys, found = _keys(context), load_config()
    if words:
        arguments = [
            *([f"--model={model}"] if model else []),
            *(f"--preset={name}" for name in presets or ()),
        ]
        shown = [*of_command(*simulated(_program(context), found, words, arguments))]
    elif model or presets:
        raise UsageError("--model and --preset need a COMMAND", "As in `ossctl config show run -P NAME`.")
    else:
        shown = [*in_files(keys, found), *in_environment(keys)]
    out.json({"schema": "ossctl.config/1", "values": [each.record for each in shown]})
    if shown:
        out.table([each.row for each in shown])
    else:
        out.note("Nothing is set. `ossctl config set KEY VALUE` does it.")


@config.command()
@command
def path(*, project: ProjectOption = False, out: TextOutput) -> None:
    """Print the path of the config file, whether or not it exists."""
    out.text(str(path_to_write(project=project)))


@config.command()
@command
def get(*, context: typer.Context, key: KeyArgument, out: TextOutput) -> None:
    """Print the value of a key in the config files; the project's takes precedence."""
    from ossctl.cli.config_view import literal
    from ossctl.config.config import load_config

    files = load_config().files
    for parts in _meanings(context, key):
        for file in reversed(files):
            found: Any = file.values
            for part in parts:
                found = found.get(part) if isinstance(found, dict) else None
            if found is not None:
                out.text(found if isinstance(found, str) else literal(found))
                return
    raise UsageError(f"{key} is not set")


@config.command("set")
@command
def set_(
    *,
    context: typer.Context,
    key: KeyArgument,
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="The value as on the command line, or a TOML value.")
    ],
    project: ProjectOption = False,
    out: TextOutput,
) -> None:
    """Set a key. Comments and the order of the file are kept."""
    from ossctl.cli.config_values import value_for
    from ossctl.config.file import dotted
    from ossctl.config.writing import set_value

    target = path_to_write(project=project)
    parts = _meanings(context, key)[0]
    set_value(target, parts, value_for(_keys(context), context, target, parts, value))
    out.note(f"{dotted(parts)} is set in {target}.")


@config.command()
@command
def unset(
    *, context: typer.Context, key: KeyArgument, project: ProjectOption = False, out: TextOutput
) -> None:
    """Remove a key, or a whole section."""
    from ossctl.config.file import dotted
    from ossctl.config.writing import unset_value

    target = path_to_write(project=project)
    for parts in _meanings(context, key):
        if unset_value(target, parts):
            out.note(f"{dotted(parts)} is removed from {target}.")
            return
    raise UsageError(f"{key} is not set in {target}")


@config.command()
@command
def edit(*, context: typer.Context, project: ProjectOption = False, out: TextOutput) -> None:
    """Open the file in $VISUAL or $EDITOR, and check it afterwards."""
    import subprocess

    from ossctl.app.tools.processes import argv_of, startable

    target = path_to_write(project=project)
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ("notepad" if os.name == "nt" else "vi")
    argv = argv_of(editor, f"the editor {editor}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create {target.parent}: {error.strerror}") from None
    try:
        done = subprocess.run([*startable(argv), str(target)], check=False)  # noqa: S603 (the user's editor)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot start the editor {editor}: {error}", "Set EDITOR to another one.") from None
    if done.returncode:
        raise UsageError(f"the editor {editor} has ended with {done.returncode}")
    _check(context, out)


@config.command()
@command
def check(*, context: typer.Context, out: TextOutput) -> None:
    """Look for mistakes: unknown keys, wrong values, cycles. The exit code is 2 if there are any."""
    _check(context, out)


@config.command("from")
@command
def from_(
    *,
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|ID",
            help="Output or report of a batch, output of `ossctl run --json`, or the ID of a chat.",
        ),
    ],
    name: Annotated[
        str,
        typer.Option("--as", metavar="NAME", help="Write it to the config file as the preset NAME."),
    ] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the preset if it exists.")] = False,
    project: ProjectOption = False,
    out: TextOutput,
) -> None:
    """Print the options of finished work as a preset, or write them to the config file."""
    from ossctl.app.finished_work import options_of
    from ossctl.cli.config_view import literal
    from ossctl.config.writing import put_table
    from ossctl.settings import Paths

    found = options_of(source, Paths.from_environment().sessions)
    if not name:
        out.text("[preset.NAME]")
        out.lines(f"{key} = {literal(value)}" for key, value in found.items())
        return
    target = path_to_write(project=project)
    put_table(target, ("preset", name), found, replace=overwrite)
    out.note(f"The preset {name} is in {target}.")


def _check(context: typer.Context, out: Output) -> None:
    from ossctl.cli.config_check import problems
    from ossctl.config.config import load_config

    found = load_config()
    mistakes = [*problems(_keys(context), found, context)]
    out.lines(mistakes)
    if mistakes:
        raise typer.Exit(2)
    files = " and ".join(str(file.path) for file in found.files)
    out.note(f"No mistakes in {files}." if files else "There is no config file.")


def path_to_write(*, project: bool) -> Path:
    """The file that a command changes. Raises UsageError if the user's does not count."""
    from ossctl.config.paths import VARIABLE, config_paths

    user, of_project = config_paths()
    if project:
        return of_project
    if user is None:
        raise UsageError(f"{VARIABLE} is off", "Unset it.")
    return user


def _program(context: typer.Context) -> Any:
    return context.find_root().command


def _meanings(context: typer.Context, key: str) -> "Sequence[Key]":
    """What a key may mean, most likely first: an option alone, such as effort, is one of `[defaults]`."""
    from ossctl.config.file import key_of

    parts = key_of(key)
    is_option = len(parts) == 1 and parts[0] in _keys(context).shared
    return [("defaults", *parts), parts] if is_option else [parts]


def _keys(context: typer.Context) -> "ConfigKeys":
    from ossctl.cli.config_keys import ConfigKeys

    return ConfigKeys(_program(context))
