"""What a comparison shows of its progress."""

from collections.abc import Sequence
from typing import Protocol

from ossctl.app.compare.results import Answer, Contestant


class CompareView(Protocol):
    """Shows the progress of a comparison."""

    def loading(self, label: str) -> None:
        """A model is being loaded for this contestant, or for the judge."""

    def answering(self, label: str, done: int, of: int, tokens: int) -> None:
        """`done` answers are complete, and the others have `tokens` tokens."""

    def finished(self, contestant: Contestant, answers: Sequence[Answer]) -> None:
        """A contestant has answered all prompts."""

    def failed(self, labels: Sequence[str], message: str) -> None:
        """Contestants that share a model have failed."""

    def judged(self, judge: str, count: int) -> None:
        """The judge has given `count` opinions."""

    def remark(self, text: str) -> None:
        """Show what the user should know about a model."""
