"""Commands on sessions: finding, leaving and writing them."""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ossctl.app.chat.export import Exported, markdown_of, record_of
from ossctl.app.chat.saving import save_new
from ossctl.app.chat.session_log import Remembered, title_of
from ossctl.errors import UsageError
from ossctl.repl.wording import tokens

if TYPE_CHECKING:
    from ossctl.repl.repl import Repl
from ossctl.repl.setup import Leave

_LISTED = 20
_RECALLED = 2  # turns that are shown of a chat that goes on


def save(repl: "Repl", argument: str) -> None:
    """`/save FILE`"""
    chat = repl.chat
    if not chat.transcript.entries:
        raise UsageError("nothing was said yet")
    title = title_of(chat.transcript.turns[0].text)
    exported = Exported(
        chat.book.session or "", title, chat.model.name or repl.models.name, chat.settings, chat.transcript
    )
    path = Path(argument).expanduser()
    if path.suffix.lower() == ".json":
        text = msgspec.json.format(msgspec.json.encode(record_of(exported))).decode() + "\n"
    else:
        text = markdown_of(exported)
    save_new(path, text)
    repl.say(f"Written: {path}")


def sessions(repl: "Repl", argument: str) -> None:
    """`/sessions [WORDS]`"""
    found = repl.chat.book.sessions
    if argument:
        hits = found.search(argument, _LISTED)
        if not hits:
            repl.say("No message has these words.")
        for hit in hits:
            repl.say(f"{hit.session.id}  {' '.join(hit.excerpt.split())}")
        return
    listed = found.recent(_LISTED)
    if not listed:
        repl.say("There are no saved chats yet.")
    for session in listed:
        mark = "*" if session.id == repl.chat.book.session else " "
        when = session.updated.astimezone().strftime("%Y-%m-%d %H:%M")
        repl.say(f"{mark}{session.id}  {when}  {session.messages:>4}  {session.title}")


def resume(repl: "Repl", argument: str) -> None:
    """`/resume ID`"""
    remembered = repl.chat.resume(argument)
    repl.measure()
    recall(repl, remembered)
    here, there = repl.chat.model.reference, remembered.model.reference
    if there and here and there != here:
        repl.say(f"It was with {remembered.model.name or there}: /model {there} goes back to that.")


def fork(repl: "Repl", _argument: str) -> None:
    """`/fork`"""
    before = repl.chat.book.session
    remembered = repl.chat.fork()
    repl.say(f"This is {remembered.id} now, a copy; {before} stays as it is.")


def clear(repl: "Repl", _argument: str) -> None:
    """`/clear`"""
    before = repl.chat.book.session
    repl.chat.clear()
    repl.attached.clear()
    repl.measure()
    repl.say(f"A new chat. /resume {before} goes back." if before else "A new chat.")


def exit_(_repl: "Repl", _argument: str) -> None:
    """`/exit`"""
    raise Leave


def recall(repl: "Repl", remembered: Remembered) -> None:
    """Show where a chat was left."""
    turns = remembered.transcript.turns
    repl.say(f"{remembered.title}  ({remembered.id}, {len(turns)} {'turn' if len(turns) == 1 else 'turns'})")
    for turn in turns[-_RECALLED:]:
        repl.say("", *(f"> {line}" for line in turn.text.splitlines()[:5]))
        if len(turn.text.splitlines()) > 5:
            repl.say("> …")
        for entry in turn.entries[1:]:
            if entry.message.role == "assistant" and entry.message.content:
                repl.say("", entry.message.content.strip())
            if entry.state == "stopped":
                count = entry.details.get("usage", {}).get("completion_tokens")
                repl.say(f"(stopped{f' after {tokens(count)}' if count else ''})")
    repl.say("")
