"""Measurements of a chat for the toolbar, `/stats` and the line below an answer."""

from dataclasses import dataclass, field

from ossctl.app.chat.chat import Chat
from ossctl.app.chat.context_window import ContextUsage
from ossctl.app.chat.events import Answered
from ossctl.errors import UsageError


@dataclass
class Totals:
    """Sums over all answers since the chat was started, in tokens and seconds."""

    answers: int = 0
    prefilled: int = 0
    cached: int = 0
    generated: int = 0
    seconds: float = 0.0


@dataclass
class Meter:
    """`usage` is None while no model is loaded. `rate` is the latest answer's, in tokens per second."""

    usage: ContextUsage | None = None
    rate: float = 0.0
    totals: Totals = field(default_factory=Totals)

    @property
    def used(self) -> int:
        """Tokens of the context in use, as far as that is known."""
        return self.usage.used if self.usage is not None else 0

    def measure(self, chat: Chat) -> None:
        """Update `usage`. It is unknown if the model's format cannot express the conversation."""
        self.usage = None
        if chat.is_ready:
            try:
                self.usage = chat.usage()
            except UsageError:
                return

    def count(self, answered: Answered) -> None:
        """Add an answer to the totals."""
        self.rate = answered.rate
        totals = self.totals
        totals.answers += 1
        totals.prefilled += answered.computed
        totals.cached += answered.reused
        totals.generated += answered.completion
        totals.seconds += answered.seconds
