"""How much of the context window a chat uses, and which turns to hide when it is full."""

from collections.abc import Sequence
from dataclasses import dataclass

from ossctl.app.chat.prompts import PromptBuilder, request_errors_as_usage_errors
from ossctl.app.sessions.session_log import title_of
from ossctl.app.sessions.transcript import ContextCut, MessageEntry, Transcript
from ossctl.dialect import Dialect, Message
from ossctl.errors import UsageError

_MAX_RESERVE = 1_024  # tokens reserved for the next answer: a short one with some reasoning
_RESERVE_SHARE = 8  # of a small context, an eighth is reserved
_NEARLY_FULL = 0.8  # from this share on, the user is warned


@dataclass(frozen=True)
class ContextUsage:
    """A prompt of `used` tokens in a context window of `size` tokens."""

    used: int
    size: int

    @property
    def share(self) -> float:
        return self.used / self.size

    @property
    def free(self) -> int:
        """Tokens, at least 0."""
        return max(0, self.size - self.used)

    @property
    def nearly_full(self) -> bool:
        """Whether the user should be warned."""
        return self.share >= _NEARLY_FULL

    @property
    def fits(self) -> bool:
        """Whether the prompt fits at all."""
        return self.used <= self.size

    @property
    def fits_answer(self) -> bool:
        """Whether a typical answer fits after the prompt."""
        return self.used + min(_MAX_RESERVE, self.size // _RESERVE_SHARE) <= self.size


@dataclass(frozen=True)
class TurnSize:
    """A turn, the number of tokens it adds to the prompt, and whether the model sees it."""

    number: int
    title: str
    tokens: int
    seen: bool


@dataclass(frozen=True)
class ContextReport:
    """What fills the context: tokens of the instructions, of the summary of hidden turns, of each turn."""

    usage: ContextUsage
    instructions: int
    summary: int
    turns: tuple[TurnSize, ...]


@dataclass(frozen=True)
class ContextAccounting:
    """Counts prompt tokens for one model and one set of settings.

    All methods raise UsageError if the model's chat format cannot express a message.
    """

    prompts: PromptBuilder
    dialect: Dialect
    n_ctx: int

    def usage(self, transcript: Transcript, text: str = "") -> ContextUsage:
        """The usage of the transcript's prompt, with `text` as the next message."""
        messages = transcript.messages()
        if text:
            messages = (*messages, Message("user", text))
        return ContextUsage(self._count(messages), self.n_ctx)

    def usage_without_history(self, text: str) -> ContextUsage:
        """The usage of a prompt with `text` as its only message."""
        return ContextUsage(self._count([Message("user", text)]), self.n_ctx)

    def size_of(self, text: str) -> int:
        """Number of tokens that `text` adds to a message."""
        return self.usage_without_history(text).used - self.usage_without_history("").used

    def cut_for(self, transcript: Transcript, text: str) -> ContextCut:
        """The cut that hides enough of the oldest turns for `text` and an answer to fit.

        Raises UsageError if no turn is visible.
        """
        cut = None
        for turn in transcript.turns[transcript.hidden :]:
            cut = ContextCut("", turn.last_id)
            if self.usage(transcript.with_entry(cut), text).fits_answer:
                break
        if cut is None:
            raise UsageError("there is nothing to drop")
        return cut

    def turns_to_summarise(self, transcript: Transcript) -> int:
        """Number of turns, hidden ones included, that make up the older half of the visible prompt.

        The last turn stays visible unless it is the only one. Raises UsageError if no turn is visible.
        """
        turns, hidden = transcript.turns, transcript.hidden
        if len(turns) <= hidden:
            raise UsageError("there is nothing to summarise yet")
        half = self._count(transcript.messages()) / 2
        most = max(hidden + 1, len(turns) - 1)
        for count in range(hidden + 1, most):
            if self._count(transcript.messages(count)) >= half:
                return count
        return most

    def report(self, transcript: Transcript) -> ContextReport:
        """What fills the context."""
        turns, hidden = transcript.turns, transcript.hidden
        uncut = Transcript(tuple(entry for entry in transcript.entries if isinstance(entry, MessageEntry)))
        sizes = [self._count(uncut.messages(n)) for n in range(1, len(turns) + 1)]
        instructions = self.usage_without_history("").used if turns else 0
        rows = [
            TurnSize(turn.number, title_of(turn.text), size - before, turn.number > hidden)
            for turn, size, before in zip(turns, sizes, [instructions, *sizes], strict=False)
        ]
        usage = self.usage(transcript)
        seen = sum(row.tokens for row in rows if row.seen)
        return ContextReport(usage, instructions, max(0, usage.used - seen - instructions), tuple(rows))

    def _count(self, messages: Sequence[Message]) -> int:
        if not messages:
            return 0
        with request_errors_as_usage_errors():
            return len(self.dialect.render(self.prompts.conversation(messages)))
