"""Commands on the last answer and on earlier messages."""

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from ossctl.app.inference.request import check_reasoning
from ossctl.dialect import Effort
from ossctl.errors import UsageError
from ossctl.repl.clipboard import copy_text
from ossctl.repl.footnotes import footnoted

if TYPE_CHECKING:
    from ossctl.repl.repl import Repl


def undo(repl: "Repl", _argument: str) -> None:
    """`/undo`"""
    turn = repl.chat.undo()
    repl.meter.measure(repl.chat)
    repl.say(f"Took back message {turn.number} and its answer. To change a message, use /edit instead.")


def retry(repl: "Repl", argument: str) -> None:
    """`/retry [EFFORT]`: the effort holds for this answer only."""
    if not argument:
        repl.retry()
        return
    repl.ready()
    before = repl.chat.settings
    chosen = msgspec.convert(argument, Effort)
    require_effort(repl, chosen)
    repl.chat.settings = replace(before, effort=chosen)
    try:
        repl.retry()
    finally:
        repl.chat.settings = before


def edit(repl: "Repl", argument: str) -> None:
    """`/edit [N]`: puts the message into the prompt. Sending it replaces the message and what follows."""
    if argument and not argument.isdecimal():
        raise UsageError(f"{argument} is not a message number", "/context shows them.")
    history = repl.chat.history
    turn = history.turn(int(argument)) if argument else history.last_turn
    repl.composer.edit(turn)
    if later := len(repl.chat.transcript.turns) - turn.number:
        messages = "the message" if later == 1 else f"the {later} messages"
        repl.say(f"Sending it takes back {messages} after it; Ctrl-C cancels the edit.")


def copy(repl: "Repl", _argument: str) -> None:
    """`/copy`"""
    transcript = repl.chat.transcript
    last = repl.chat.history.last_turn.entries[-1]
    if last not in transcript.answers or not last.message.content.strip():
        raise UsageError("the last message has no answer to copy")
    how = copy_text(footnoted(last.message.content, transcript.messages()))
    repl.say(f"Copied the last answer {how}.")


def require_effort(repl: "Repl", effort: Effort | None = None) -> None:
    """Raise UsageError if the model has no effort, or not this one."""
    if "effort" not in repl.chat.model_session.dialect.reasoning_settings:
        raise UsageError(f"effort is not for {repl.chat.model.name}: it has no such setting")
    check_reasoning(repl.chat.model_session.model, effort=effort)
