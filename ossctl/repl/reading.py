"""What the model reads while the user writes."""

from time import monotonic

from ossctl.app.chat.chat import Chat

# Characters of a message. All of it becomes tokens each time: of a long one only whole lines are read while
# it is written, and the longest are read when they are sent.
_LONG, _LONGEST = 4_000, 100_000
_PAUSE = 10.0  # times as long as that took, during which it is not done again: a chat template may be slow


class Reading:
    """Has the chat look ahead, so that after Enter little is left to read."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._read = ""  # of the message, what the model was given to read
        self._next = 0.0  # when it may be given more, on monotonic's clock

    def begin(self, draft: str = "") -> None:
        """A message begins: read what it will stand behind.

        `draft` is not read, for it came back because it was stopped at that; but what it grows to is.
        """
        self._read = draft
        if self._chat.is_ready:
            self._chat.look_ahead()

    def follow(self, text: str) -> None:
        """The message is `text` so far: read it but for its latest word, after what is being read already."""
        if not self._chat.is_ready:
            return
        if self._read and not text:  # taken back
            self.begin()
        settled = _settled(text)
        if self._read.startswith(settled):
            return
        grows = settled.startswith(self._read)
        began = monotonic()
        if began < self._next or (grows and self._chat.talker.ahead is not None):
            return
        self._read = self._chat.look_ahead(settled)
        self._next = monotonic() + _PAUSE * (monotonic() - began)


def _settled(text: str) -> str:
    """All but the latest word, or, of a long text, the latest line."""
    if len(text) > _LONGEST:
        return ""
    end = text.rfind("\n") if len(text) > _LONG else max(text.rfind(" "), text.rfind("\n"))
    return text[: end + 1]
