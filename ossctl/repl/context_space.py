"""Frees space in a full context, as the user decides."""

import sys

from ossctl.app.chat.chat import Chat
from ossctl.errors import UsageError
from ossctl.repl.answer_display import AnswerDisplay
from ossctl.repl.meter import Meter
from ossctl.repl.surface import Surface
from ossctl.repl.view import PlainView
from ossctl.repl.wording import percent, tokens


class ContextSpace:
    """Summarises or hides the oldest turns."""

    def __init__(self, chat: Chat, surface: Surface, display: AnswerDisplay, meter: Meter) -> None:
        self._chat = chat
        self._surface = surface
        self._display = display
        self._meter = meter

    def ensure(self, message: str) -> bool:
        """Whether to send `message`, after the user has freed space for it if needed.

        Raises UsageError if the message alone is larger than the context.
        """
        alone = self._chat.context.usage_without_history(message)
        if not alone.fits:
            raise UsageError(
                f"the message has {tokens(alone.used)}, more than the context of {alone.size:,}",
                "Shorten it, or start with a larger --ctx.",
            )
        while not (usage := self._chat.usage(message)).fits_answer:
            transcript = self._chat.transcript
            if len(transcript.turns) == transcript.hidden:
                return True
            chosen = self._surface.choose(
                f"The context is nearly full: {percent(usage)} with this message. "
                "Summarise the oldest turns (compact), or hide them from the model (drop)?",
                ["compact", "drop", *(["send"] if usage.fits else []), "not now"],
                "not now" if self._surface.interactive else "drop",
            )
            if chosen == "send":
                return True
            if chosen == "not now":
                self._surface.say("Not sent. /compact, /undo and /clear free space.")
                return False
            if chosen == "compact":
                self.compact()
            else:
                self.drop(message)
        return True

    def compact(self) -> None:
        """Have the model summarise the oldest turns. Off a terminal, the summary goes to stderr."""
        view = None if self._surface.interactive else PlainView(sys.stderr, sys.stderr)
        self._display.show(self._chat.compact(), view)
        self._meter.measure(self._chat)
        self._surface.say("From now on the model sees this summary. The turns stay in the session.")

    def drop(self, message: str) -> None:
        """Hide as many of the oldest turns as `message` and an answer need."""
        count = self._chat.drop_oldest(message)
        self._meter.measure(self._chat)
        turns = "turn" if count == 1 else f"{count} turns"
        self._surface.say(f"The model no longer sees the oldest {turns}; /context shows which it sees.")
