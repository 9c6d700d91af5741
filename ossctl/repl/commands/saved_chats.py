"""Commands that find, leave and export saved chats."""

from typing import TYPE_CHECKING

import msgspec

from ossctl.app.chat.export import ExportedChat, markdown_of, record_of, save_new
from ossctl.app.chat.paths import user_path
from ossctl.app.sessions.session_log import SavedSession, title_of
from ossctl.errors import UsageError
from ossctl.repl.footnotes import footnoted
from ossctl.repl.setup import Leave
from ossctl.repl.wording import tokens

if TYPE_CHECKING:
    from ossctl.repl.repl import Repl

_LISTED = 20
_SHOWN_TURNS = 2  # of a chat that is continued
_SHOWN_LINES = 5  # of a user message


def save(repl: "Repl", argument: str) -> None:
    """`/save FILE`"""
    chat = repl.chat
    if not chat.transcript.entries:
        raise UsageError("there are no messages yet")
    title = title_of(chat.transcript.turns[0].text)
    model = chat.model.name or repl.model.name
    exported = ExportedChat(chat.log.session or "", title, model, chat.settings, chat.transcript)
    path = user_path(argument)
    if path.suffix.lower() == ".json":
        text = msgspec.json.format(msgspec.json.encode(record_of(exported))).decode() + "\n"
    else:
        text = markdown_of(exported)
    save_new(path, text)
    repl.say(f"Written: {path}")


def sessions(repl: "Repl", argument: str) -> None:
    """`/sessions [WORDS]`"""
    saved = repl.chat.log.sessions
    if argument:
        hits = saved.search(argument, _LISTED, "chat")
        if not hits:
            repl.say("No message has these words.")
        for hit in hits:
            repl.say(f"{hit.session.id}  {' '.join(hit.excerpt.split())}")
        return
    listed = saved.recent(_LISTED, "chat")
    if not listed:
        repl.say("There are no saved chats yet.")
    for session in listed:
        mark = "*" if session.id == repl.chat.log.session else " "
        when = session.updated.astimezone().strftime("%Y-%m-%d %H:%M")
        repl.say(f"{mark}{session.id}  {when}  {session.messages:>4}  {session.title}")


def resume(repl: "Repl", argument: str) -> None:
    """`/resume ID`"""
    saved = repl.chat.resume(argument)
    repl.meter.measure(repl.chat)
    show_session(repl, saved)
    current, used = repl.chat.model.reference, saved.model.reference
    if used and current and used != current:
        repl.say(f"This chat used {saved.model.name or used}: /model {used} switches back.")


def fork(repl: "Repl", _argument: str) -> None:
    """`/fork`"""
    before = repl.chat.log.session
    copy = repl.chat.fork()
    repl.say(f"This is now {copy.id}, a copy; {before} stays as it is.")


def clear(repl: "Repl", _argument: str) -> None:
    """`/clear`"""
    before = repl.chat.log.session
    repl.chat.clear()
    repl.composer.drop_attachments()
    repl.meter.measure(repl.chat)
    repl.say(f"New chat. /resume {before} returns to the previous one." if before else "New chat.")


def exit_(_repl: "Repl", _argument: str) -> None:
    """`/exit`"""
    raise Leave


def show_session(repl: "Repl", saved: SavedSession) -> None:
    """Show the end of a chat that is continued."""
    turns = saved.transcript.turns
    repl.say(f"{saved.title}  ({saved.id}, {len(turns)} {'turn' if len(turns) == 1 else 'turns'})")
    for turn in turns[-_SHOWN_TURNS:]:
        lines = turn.text.splitlines()
        repl.say("", *(f"> {line}" for line in lines[:_SHOWN_LINES]))
        if len(lines) > _SHOWN_LINES:
            repl.say("> …")
        for entry in turn.entries[1:]:
            if entry.message.role == "assistant" and entry.message.content:
                repl.say("", footnoted(entry.message.content.strip(), saved.transcript.messages()))
            if entry.state == "stopped":
                count = entry.details.get("usage", {}).get("completion_tokens")
                repl.say(f"(stopped{f' after {tokens(count)}' if count else ''})")
    repl.say("")
