"""`ossctl sessions`: chats that were saved."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ossctl.cli.options import JsonOption, VerboseOption, YesOption, complete_session
from ossctl.cli.output import open_stdout, print_json, print_table, put, say, show_log, somebody_to_ask
from ossctl.errors import UsageError

if TYPE_CHECKING:
    from ossctl.app.chat.export import Exported
    from ossctl.app.chat.session_log import Sessions, StoredSession

sessions = typer.Typer(no_args_is_help=True, help="Find, read, export and delete saved chats.")

SessionArgument = Annotated[
    str, typer.Argument(metavar="ID", autocompletion=complete_session, help="The beginning of its id.")
]


@sessions.command("list")
def list_(
    limit: Annotated[
        int | None,
        typer.Option("-n", "--limit", metavar="N", min=1, show_default=False, help="The latest N only."),
    ] = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """The saved chats, the latest first."""
    found = _open(verbose).recent(limit)
    if as_json:
        print_json({"schema": "ossctl.sessions/1", "sessions": [_record(each) for each in found]})
    elif not found:
        say("There are no saved chats.")
    else:
        rows = [
            (each.id, f"{each.updated.astimezone():%Y-%m-%d %H:%M}", f"{each.messages}", each.title)
            for each in found
        ]
        print_table(("id", "last used", "messages", "title"), rows)


@sessions.command()
def show(session: SessionArgument, as_json: JsonOption = False, verbose: VerboseOption = 0) -> None:
    """Print a chat, as Markdown."""
    from ossctl.app.chat.export import markdown_of, record_of

    found = _exported(_open(verbose), session)
    if as_json:
        print_json(record_of(found))
    else:
        put(markdown_of(found).rstrip("\n"))


@sessions.command()
def search(
    words: Annotated[list[str], typer.Argument(metavar="WORDS", help="What a message has to hold.")],
    limit: Annotated[int, typer.Option("-n", "--limit", metavar="N", min=1, help="Show so many.")] = 50,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Messages that hold all the words; a word may be the beginning of one."""
    hits = _open(verbose).search(" ".join(words), limit)
    if as_json:
        records = [
            {"session": hit.session.id, "role": hit.role, "excerpt": hit.excerpt, "created": hit.created}
            for hit in hits
        ]
        print_json({"schema": "ossctl.sessions-search/1", "hits": records})
    elif not hits:
        say("No message has these words.")
    for hit in [] if as_json else hits:
        put(f"{hit.session.id}  {hit.role:9}  {' '.join(hit.excerpt.split())}")


@sessions.command()
def export(
    session: SessionArgument,
    sink: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", show_default=False, help="Write FILE instead of stdout."
        ),
    ] = None,
    form: Annotated[
        Literal["md", "json"] | None,
        typer.Option("--format", show_default=False, help="By default as FILE is called, else md."),
    ] = None,
    verbose: VerboseOption = 0,
) -> None:
    """Write a chat as Markdown or JSON. What the model no longer saw is marked."""
    import json

    from ossctl.app.chat.export import markdown_of, record_of
    from ossctl.app.chat.saving import save_new

    found = _exported(_open(verbose), session)
    wants_json = form == "json" or (form is None and sink is not None and sink.suffix.lower() == ".json")
    text = (
        json.dumps(record_of(found), indent=2, ensure_ascii=False) + "\n"
        if wants_json
        else markdown_of(found)
    )
    if sink is None:
        put(text.rstrip("\n"))
    else:
        save_new(sink, text)


@sessions.command()
def delete(
    chosen: Annotated[
        list[str],
        typer.Argument(metavar="ID...", autocompletion=complete_session, help="The beginnings of ids."),
    ],
    yes: YesOption = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Delete chats for good."""
    kept = _open(verbose)
    found = [kept.find(each) for each in dict.fromkeys(chosen)]
    if not yes:
        if not somebody_to_ask():
            raise UsageError("deleting has to be confirmed, and there is no terminal to ask on", "Give -y.")
        for each in found:
            say(f"{each.id}  {each.messages} messages  {each.title}")
        if not typer.confirm("Delete for good?", err=True):
            return
    for each in found:
        kept.delete(each.id)
    if as_json:
        print_json({"schema": "ossctl.sessions-delete/1", "deleted": [each.id for each in found]})
    else:
        say(f"{len(found)} deleted.")


def _open(verbose: int) -> "Sessions":
    from ossctl.app.chat.session_log import open_sessions
    from ossctl.settings import Paths

    show_log(verbose)
    open_stdout()
    return open_sessions(Paths.from_environment().sessions)


def _exported(kept: "Sessions", reference: str) -> "Exported":
    from ossctl.app.chat.export import exported
    from ossctl.app.chat.session_log import remembered_of

    return exported(remembered_of(kept, kept.find(reference)))


def _record(session: "StoredSession") -> dict[str, Any]:
    return {
        "id": session.id,
        "title": session.title,
        "created": session.created.isoformat(),
        "updated": session.updated.isoformat(),
        "messages": session.messages,
        "forked_from": session.origin,
    }
