"""`ossctl sessions`: saved chats."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ossctl.cli.command import command
from ossctl.cli.completion import complete_session
from ossctl.cli.options import JsonOutput, TextOutput, YesOption
from ossctl.cli.output import Output

if TYPE_CHECKING:
    from ossctl.app.chat.export import ExportedChat
    from ossctl.app.chat.session_log import Sessions, StoredSession

sessions = typer.Typer(no_args_is_help=True, help="Find, read, export and delete saved chats.")

SessionArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID", autocompletion=complete_session, help="ID of the chat, or its first characters."
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
    found = _open(out).recent(limit)
    out.json({"schema": "ossctl.sessions/1", "sessions": [_record(each) for each in found]})
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
    from ossctl.app.chat.export import markdown_of, record_of

    found = _exported(_open(out), session)
    out.json(record_of(found))
    out.text(markdown_of(found).rstrip("\n"))


@sessions.command()
@command
def search(
    *,
    words: Annotated[
        list[str],
        typer.Argument(metavar="WORDS", help="Words, or their first letters, that a message must contain."),
    ],
    limit: Annotated[
        int, typer.Option("-n", "--limit", metavar="N", min=1, help="Show at most N messages.")
    ] = 50,
    out: JsonOutput,
) -> None:
    """Find messages that contain all the words."""
    hits = _open(out).search(" ".join(words), limit)
    records = [
        {"session": hit.session.id, "role": hit.role, "excerpt": hit.excerpt, "created": hit.created}
        for hit in hits
    ]
    out.json({"schema": "ossctl.sessions-search/1", "hits": records})
    out.lines(f"{hit.session.id}  {hit.role:9}  {' '.join(hit.excerpt.split())}" for hit in hits)
    if not hits:
        out.note("No message contains these words.")


@sessions.command()
@command
def export(
    *,
    session: SessionArgument,
    sink: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", show_default=False, help="Write to FILE instead of stdout."
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

    found = _exported(_open(out), session)
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
            metavar="ID...", autocompletion=complete_session, help="IDs of chats, or their first characters."
        ),
    ],
    yes: YesOption = False,
    out: JsonOutput,
) -> None:
    """Delete chats permanently, with what was computed of them."""
    from ossctl.app.library.prefix_cache import clear_cache

    kept = _open(out)
    found = {session.id: session for session in map(kept.find, chosen)}.values()
    listed = "".join(f"{each.id}  {each.messages} messages  {each.title}\n" for each in found)
    if not yes and not out.may_delete(f"{listed}Delete permanently?"):
        return
    for each in found:
        kept.delete(each.id)
        clear_cache(owner=each.id)
    out.json({"schema": "ossctl.sessions-delete/1", "deleted": [each.id for each in found]})
    out.note(f"{len(found)} {'chat' if len(found) == 1 else 'chats'} deleted.")


def _open(out: Output) -> "Sessions":
    from ossctl.app.chat.session_log import open_sessions
    from ossctl.settings import Paths

    out.open_stdout()
    return open_sessions(Paths.from_environment().sessions)


def _exported(kept: "Sessions", reference: str) -> "ExportedChat":
    from ossctl.app.chat.export import export_of
    from ossctl.app.chat.session_log import load_session

    return export_of(load_session(kept, kept.find(reference)))


def _record(session: "StoredSession") -> dict[str, Any]:
    return {
        "id": session.id,
        "title": session.title,
        "created": session.created.isoformat(),
        "updated": session.updated.isoformat(),
        "messages": session.messages,
        "forked_from": session.origin,
    }
