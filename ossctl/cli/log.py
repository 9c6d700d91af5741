"""`ossctl log`: runs that were logged."""

from collections.abc import Collection
from typing import Annotated

import typer
from typer.core import TyperGroup

from ossctl.cli.command import command
from ossctl.cli.completion import complete_run
from ossctl.cli.options import JsonOutput, YesOption
from ossctl.cli.saved import (
    HitsOption,
    WordsArgument,
    delete_saved,
    exported,
    open_saved,
    record,
    search_saved,
    show_saved,
)
from ossctl.errors import UsageError

_LISTED = 20


class Lists(TyperGroup):
    """A group whose options without a command are those of `list`."""

    def named(self, args: list[str], help_names: Collection[str]) -> list[str]:
        """The arguments with the name of the command."""
        is_list = not args or (args[0].startswith("-") and args[0] not in help_names)
        return ["list", *args] if is_list else args


log = typer.Typer(
    cls=Lists,
    help="Show, search and delete runs that were kept: those with --log, or OSSCTL_LOG=1. Without a command, "
    "list the latest.",
)


@log.command("list")
@command
def list_(
    *,
    limit: Annotated[
        int, typer.Option("-n", "--limit", metavar="N", min=1, help="List only the latest N.")
    ] = _LISTED,
    out: JsonOutput,
) -> None:
    """List runs, latest first."""
    from ossctl.app.sessions.session_log import title_of

    found = open_saved(out).recent(limit, "run")
    records = [{**record(each), "excerpt": each.ending} for each in found]
    out.json({"schema": "ossctl.log/1", "runs": records})
    rows = [
        (each.id, f"{each.updated.astimezone():%Y-%m-%d %H:%M}", each.title, title_of(each.ending))
        for each in found
    ]
    if rows:
        out.table([("id", "last used", "first prompt", "latest answer"), *rows], optional=1)
    else:
        out.note("The log is empty. `ossctl run --log` keeps prompt and answer; OSSCTL_LOG=1 keeps all.")


@log.command()
@command
def show(
    *,
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="ID",
            show_default=False,
            autocompletion=complete_run,
            help="ID of the run, or its first characters.  [default: the latest]",
        ),
    ] = None,
    out: JsonOutput,
) -> None:
    """Print a run as Markdown: prompt, answer, and what continued it."""
    kept = open_saved(out)
    if run is None:
        run = next((each.id for each in kept.recent(1, "run")), None)
    if run is None:
        raise UsageError("the log is empty", "`ossctl run --log` keeps prompt and answer.")
    show_saved(exported(kept, run, "run"), out)


@log.command()
@command
def search(*, words: WordsArgument, limit: HitsOption = 50, out: JsonOutput) -> None:
    """Find messages of runs that contain all the words."""
    search_saved(words, limit, "run", out)


@log.command()
@command
def delete(
    *,
    chosen: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ID",
            show_default=False,
            autocompletion=complete_run,
            help="IDs of runs, or their first characters.",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Delete all runs.")] = False,
    yes: YesOption = False,
    out: JsonOutput,
) -> None:
    """Delete runs permanently.

    The KV cache of long prompts is kept on disk, logged or not: `ossctl cache clear` deletes it.
    """
    if everything == bool(chosen):
        raise UsageError("give either IDs or --all", "`ossctl log` shows the IDs.")
    kept = open_saved(out)
    found = kept.recent(kind="run") if everything else kept.find_all(chosen or (), "run")
    if delete_saved(kept, found, "run", yes=yes, out=out):
        out.json({"schema": "ossctl.log-delete/1", "deleted": [each.id for each in found]})
