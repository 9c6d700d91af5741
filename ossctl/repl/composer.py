"""The message that the user is writing."""

from collections.abc import Sequence

from ossctl.app.sessions.transcript import Turn
from ossctl.app.user_text import Attached


class Composer:
    """A new message, or a new version of an earlier one while `editing` that turn.

    The message stays here until it is sent: `draft` is its text at the next prompt.
    """

    def __init__(self) -> None:
        self.draft = ""
        self._editing: Turn | None = None
        self._attachments: list[Attached] = []

    @property
    def editing(self) -> Turn | None:
        """The turn that the message replaces, together with all later turns."""
        return self._editing

    @property
    def attachments(self) -> Sequence[Attached]:
        """Files that are sent with the message."""
        return tuple(self._attachments)

    def take_draft(self) -> str:
        """Remove the draft and return it: from now on the text is in the prompt."""
        draft, self.draft = self.draft, ""
        return draft

    def attach(self, file: Attached) -> None:
        self._attachments.append(file)

    def drop_attachments(self) -> None:
        self._attachments.clear()

    def edit(self, turn: Turn) -> None:
        """Start to write a new version of `turn`."""
        self.draft, self._editing = turn.text, turn

    def cancel_edit(self) -> None:
        """Write a new message instead."""
        self._editing = None

    def sent(self) -> None:
        """Start an empty message."""
        self.draft, self._editing = "", None
        self._attachments.clear()
