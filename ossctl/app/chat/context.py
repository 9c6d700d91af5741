"""How full the context is: what the model will see, in tokens."""

from dataclasses import dataclass

_MOST_KEPT_FREE = 1_024  # tokens for the next answer; a short one with some reasoning
_SHARE_KEPT_FREE = 8  # of a small context, an eighth
_NEARLY_FULL = 0.8  # from here on the user is warned


@dataclass(frozen=True)
class VisibleWindow:
    """So many tokens of the context are `used` by a prompt."""

    used: int
    size: int

    @property
    def share(self) -> float:
        return self.used / self.size

    @property
    def nearly_full(self) -> bool:
        """Whether the user should know."""
        return self.share >= _NEARLY_FULL

    @property
    def leaves_room(self) -> bool:
        """Whether an answer fits behind it."""
        return self.used + min(_MOST_KEPT_FREE, self.size // _SHARE_KEPT_FREE) <= self.size

    @property
    def fits(self) -> bool:
        """Whether it can be asked at all."""
        return self.used <= self.size


@dataclass(frozen=True)
class TurnSize:
    """A turn in the context: `tokens` is what it adds to the prompt, `seen` whether the model sees it."""

    number: int
    title: str
    tokens: int
    seen: bool


@dataclass(frozen=True)
class ContextReport:
    """`instructions` are the tokens before the first turn, `summary` those of what stands for others."""

    window: VisibleWindow
    instructions: int
    summary: int
    turns: tuple[TurnSize, ...]
