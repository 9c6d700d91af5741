"""What a chat is started with."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ossctl.app.chat.chat import Chat
from ossctl.app.sessions.session_log import SavedSession
from ossctl.app.tools.source import ToolSource
from ossctl.repl.chat_model import ChatModel
from ossctl.repl.composer import Composer
from ossctl.repl.view import ShowReasoning

if TYPE_CHECKING:
    from ossctl.planning.plan import Plan

# The lines of `/plan`, from the model's name and its plan.
DescribePlan = Callable[[str, "Plan"], Iterable[str]]


@dataclass(frozen=True)
class Setup:
    """The chat, its model and the command line's options.

    `resumed` is the session that the chat continues. `model_names` and `preset_names` complete
    `/model` and `/preset`. With
    `may_run_all`, tools run without asking. `composer` keeps what the user writes when the model
    could not be loaded. `obeys`: slash commands run and `@path` attaches a file. `new_python` makes
    the function that `/python` offers. `needs_tools`: options of the command line give the model functions.
    """

    chat: Chat
    model: ChatModel
    history: Path
    describe_plan: DescribePlan
    model_names: Callable[[], Sequence[str]]
    preset_names: Callable[[], Sequence[str]] = list
    resumed: SavedSession | None = None
    reasoning: ShowReasoning = "fold"
    may_run_all: bool = False
    obeys: bool = True
    new_python: Callable[[], ToolSource] | None = None
    needs_tools: bool = False
    composer: Composer = field(default_factory=Composer)


class Leave(Exception):
    """The user wants to leave the chat."""
