"""`ossctl sessions`: saved chats."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ossctl.cli.command import command
from ossctl.cli.completion import complete_chat
from ossctl.cli.options import JsonOutput, TextOutput, YesOption
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

sessions = typer.Typer(no_args_is_help=True, help="Find, read, export and delete saved chats.")

SessionArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID", autocompletion=complete_chat, help="ID of the chat, or its first characters."
    ),
]


@sessions.command("list")
@command
def list_(
    *,
    limit: Annotated[
        int | None,
        typer.Option("-n", "--limit", metavar="N", min=1, show_default=False, help="List only the latest N."),
    ] = None,
    out: JsonOutput,
) -> None:
    """List saved chats, latest first."""
    found = open_saved(out).recent(limit, "chat")
    out.json({"schema": "ossctl.sessions/1", "sessions": [record(each) for each in found]})
    rows = [
        (each.id, f"{each.updated.astimezone():%Y-%m-%d %H:%M}", f"{each.messages}", each.title)
        for each in found
    ]
    if rows:
        out.table([("id", "last used", "messages", "title"), *rows])
    else:
        out.note("There are no saved chats.")


@sessions.command()
@command
def show(*, session: SessionArgument, out: JsonOutput) -> None:
    """Print a chat as Markdown."""
    show_saved(exported(open_saved(out), session, "chat"), out)


@sessions.command()
@command
def search(*, words: WordsArgument, limit: HitsOption = 50, out: JsonOutput) -> None:
    """Find messages that contain all the words."""
    search_saved(words, limit, "chat", out)


@sessions.command()
@command
def export(
    *,
    session: SessionArgument,
    sink: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            show_default=False,
            help="Write to FILE; - is stdout.  [default: -]",
        ),
    ] = None,
    form: Annotated[
        Literal["md", "json"] | None,
        typer.Option(
            "--format", show_default=False, help="Output format.  [default: from FILE's extension, else md]"
        ),
    ] = None,
    out: TextOutput,
) -> None:
    """Export a chat as Markdown or JSON.

    Messages that the model no longer saw are marked.
    """
    import json

    from ossctl.app.chat.export import markdown_of, record_of, save_new
    from ossctl.app.user_text import output_file

    sink = output_file(sink)
    found = exported(open_saved(out), session, "chat")
    wants_json = form == "json" or (form is None and sink is not None and sink.suffix.lower() == ".json")
    text = (
        json.dumps(record_of(found), indent=2, ensure_ascii=False) + "\n"
        if wants_json
        else markdown_of(found)
    )
    if sink is None:
        out.text(text.rstrip("\n"))
    else:
        save_new(sink, text)


@sessions.command()
@command
def delete(
    *,
    chosen: Annotated[
        list[str],
        typer.Argument(
            metavar="ID", autocompletion=complete_chat, help="IDs of chats, or their first characters."
        ),
    ],
    yes: YesOption = False,
    out: JsonOutput,
) -> None:
    """Delete chats permanently, with their KV caches on disk."""
    kept = open_saved(out)
    found = kept.find_all(chosen, "chat")
    if delete_saved(kept, found, "chat", yes=yes, out=out):
        out.json({"schema": "ossctl.sessions-delete/1", "deleted": [each.id for each in found]})
