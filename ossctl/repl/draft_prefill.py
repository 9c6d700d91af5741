"""Prefills a message while the user writes it, so that little is left to prefill when it is sent."""

from time import monotonic

from ossctl.app.chat.chat import Chat

# Characters of a draft. Every call tokenizes all of it, so a long draft is prefilled by whole lines, and the
# longest only when it is sent.
_LONG, _MAX_LENGTH = 4_000, 100_000
_PAUSE_FACTOR = 10.0  # the pause after a call, relative to its duration: a chat template may be slow


class DraftPrefill:
    """Decides when to prefill how much of a draft. Used by the prompt's thread."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._prefilled = ""  # the start of the draft that was given to the chat
        self._next = 0.0  # when to give it more, on monotonic's clock

    def begin(self, draft: str = "") -> None:
        """Start a message: prefill the prompt before it.

        `draft` is a message that came back because its prefill was stopped, so only what is added to it is
        prefilled.
        """
        self._prefilled = draft
        if self._chat.is_ready:
            self._chat.prefill_ahead()

    def follow(self, text: str) -> None:
        """Prefill the draft `text` except for its last word, once the running prefill has ended."""
        if not self._chat.is_ready:
            return
        if self._prefilled and not text:
            self.begin()
        settled = _settled(text)
        if self._prefilled.startswith(settled):
            return
        extends = settled.startswith(self._prefilled)
        began = monotonic()
        if began < self._next or (extends and self._chat.model_session.prefill_progress is not None):
            return
        self._prefilled = self._chat.prefill_ahead(settled)
        self._next = monotonic() + _PAUSE_FACTOR * (monotonic() - began)


def _settled(text: str) -> str:
    """The draft without its last word, or, if it is long, without its last line."""
    if len(text) > _MAX_LENGTH:
        return ""
    end = text.rfind("\n") if len(text) > _LONG else max(text.rfind(" "), text.rfind("\n"))
    return text[: end + 1]
