"""What `ossctl sessions` and `ossctl log` do in the same way."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ossctl.cli.output import Output
from ossctl.text import counted

if TYPE_CHECKING:
    from ossctl.app.chat.export import ExportedChat
    from ossctl.app.sessions.session_log import Sessions, StoredSession

WordsArgument = Annotated[
    list[str],
    typer.Argument(metavar="WORDS", help="Words, or their first letters, that a message must contain."),
]
HitsOption = Annotated[
    int, typer.Option("-n", "--limit", metavar="N", min=1, help="Show at most N messages.")
]


def open_saved(out: Output) -> "Sessions":
    """The database of chats and runs. Raises UsageError."""
    from ossctl.app.sessions.session_log import open_sessions
    from ossctl.settings import Paths

    out.open_stdout()
    return open_sessions(Paths.from_environment().sessions)


def exported(kept: "Sessions", reference: str, kind: Literal["chat", "run"]) -> "ExportedChat":
    """A saved chat or run. Raises UsageError."""
    from ossctl.app.chat.export import export_of
    from ossctl.app.sessions.session_log import load_session

    return export_of(load_session(kept, kept.find(reference, kind)))


def show_saved(found: "ExportedChat", out: Output) -> None:
    """Print a chat or a run as Markdown, or as JSON."""
    from ossctl.app.chat.export import markdown_of, record_of

    out.json(record_of(found))
    out.text(markdown_of(found).rstrip("\n"))


def search_saved(words: Sequence[str], limit: int, kind: Literal["chat", "run"], out: Output) -> None:
    """Print the messages in chats or in runs that contain all the words."""
    hits = open_saved(out).search(" ".join(words), limit, kind)
    records = [
        {"session": hit.session.id, "role": hit.role, "excerpt": hit.excerpt, "created": hit.created}
        for hit in hits
    ]
    out.json({"schema": f"ossctl.{'log' if kind == 'run' else 'sessions'}-search/1", "hits": records})
    out.lines(f"{hit.session.id}  {hit.role:9}  {' '.join(hit.excerpt.split())}" for hit in hits)
    if not hits:
        out.note("No message contains these words.")


def delete_saved(
    kept: "Sessions", found: Sequence["StoredSession"], noun: str, *, yes: bool, out: Output
) -> bool:
    """Delete chats or runs, after asking; return whether that was done."""
    from ossctl.app.library.prefix_cache import clear_cache

    listed = "".join(f"{each.id}  {each.messages} messages  {each.title}\n" for each in found)
    if not yes and not out.may_delete(f"{listed}Delete permanently?"):
        return False
    kept.delete(*(each.id for each in found))
    for each in found:
        clear_cache(owner=each.id)
    out.note(f"{counted(len(found), noun)} deleted.")
    return True


def record(session: "StoredSession") -> dict[str, Any]:
    """A chat or a run in a list."""
    return {
        "id": session.id,
        "title": session.title,
        "created": session.created.isoformat(),
        "updated": session.updated.isoformat(),
        "messages": session.messages,
        "forked_from": session.origin,
    }
