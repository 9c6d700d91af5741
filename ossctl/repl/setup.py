"""What a chat begins with, counts and ends with."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ossctl.app.chat.chat import Chat
from ossctl.app.chat.session_log import Remembered
from ossctl.repl.models import Models
from ossctl.repl.view import ShowReasoning, View

if TYPE_CHECKING:
    from ossctl.planning.plan import Plan

# The lines that `/plan` shows of a model by its name.
DescribePlan = Callable[[str, "Plan"], Iterable[str]]


@dataclass(frozen=True)
class Setup:
    """The chat and its model, and what comes from the command line.

    `model_names` are those that `/model` offers. `may_run_all` is whether tools run without asking.
    """

    chat: Chat
    models: Models
    history: Path
    describe_plan: DescribePlan
    model_names: Callable[[], Sequence[str]]
    remembered: Remembered | None = None
    reasoning: ShowReasoning = "fold"
    may_run_all: bool = False


@dataclass(frozen=True)
class Surface:
    """Where it is seen. `tell` takes a line that is no answer; `interactive`: somebody can be asked."""

    make_view: Callable[[], View]
    tell: Callable[[str], None]
    interactive: bool


class Leave(Exception):
    """The user wants to leave."""


@dataclass
class Totals:
    """Of this chat since it was started."""

    answers: int = 0
    computed: int = 0
    reused: int = 0
    completion: int = 0
    seconds: float = 0.0
