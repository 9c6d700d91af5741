"""Commands on how the model is asked, and on what is shown."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from ossctl.app.chat.settings import ChatSettings
from ossctl.app.user_text import text_of
from ossctl.dialect import Effort
from ossctl.errors import RequestError, UsageError
from ossctl.repl.commands.answers import require_effort
from ossctl.repl.view import ShowReasoning
from ossctl.text import duration

if TYPE_CHECKING:
    from ossctl.repl.repl import Repl

# What `/set` changes, and what each value is.
SETTINGS = {
    "temperature": "0 is greedy",
    "top_p": "draw from the likeliest tokens of this share",
    "top_k": "draw from so many tokens; 0 is all",
    "min_p": "leave out tokens less likely than this share of the likeliest",
    "seed": "of the next answer",
    "max_tokens": "of reasoning and answer together; off is as many as fit",
    "max_reasoning_tokens": "begin the answer after so many; off is never",
    "stop": "end the answer before this text; off is nothing",
    "date": "what the model is told today is; off is today",
}
_PARSE: Mapping[str, Callable[[str], Any]] = {
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "min_p": float,
    "seed": int,
    "max_tokens": int,
    "max_reasoning_tokens": int,
    "stop": lambda text: (text,),
    "date": dt.date.fromisoformat,
}
_FIELDS = {"stop": "stops"}
_LEAST = {"max_tokens": 1, "max_reasoning_tokens": 0}
_CAN_BE_OFF = ("max_tokens", "max_reasoning_tokens", "stop", "date")
_OFF = "off"
_KEYS = (
    ("Enter", "sends; Alt-Enter, or \\ at the end of a line, begins another line"),
    ("Ctrl-C", "stops the answer; at the prompt, clears the line; once more leaves"),
    ("Ctrl-X Ctrl-E", "opens your $EDITOR"),
    ("@path", "in a message attaches that file"),
)


def help_(repl: "Repl", argument: str) -> None:
    """`/help [COMMAND]`"""
    if argument:
        command = repl.registry.find(f"/{argument.lstrip('/')}")
        if command is None:
            raise UsageError(f"there is no command /{argument.lstrip('/')}", "/help shows all.")
        aliases = f" Also {', '.join(command.aliases)}." if command.aliases else ""
        repl.say(f"{command.usage}  {command.help}{aliases}")
        return
    width = max(len(command.usage) for command in repl.registry.commands)
    repl.say(*(f"{command.usage:{width}}  {command.help}" for command in repl.registry.commands), "")
    repl.say(*(f"{key:{width}}  {about}" for key, about in _KEYS))


def effort(repl: "Repl", argument: str) -> None:
    """`/effort [EFFORT]`"""
    repl.ready()
    require_effort(repl)
    if argument:
        repl.chat.settings = replace(repl.chat.settings, effort=msgspec.convert(argument, Effort))
    efforts = ", ".join(get_args(Effort))
    repl.say(f"The effort is {repl.chat.effort} (of {efforts}).")
    if argument and repl.chat.transcript.turns:
        repl.say("It stands at the beginning of the conversation, which the next answer reads again.")


def system(repl: "Repl", argument: str) -> None:
    """`/system [TEXT|@FILE|off]`"""
    if argument:
        text = "" if argument == _OFF else text_of(argument)
        repl.chat.settings = replace(repl.chat.settings, system=text)
    text = repl.chat.settings.system
    repl.say(f"Instructions: {text}" if text else "There are no instructions. /system TEXT gives some.")


def model(repl: "Repl", argument: str) -> None:
    """`/model [MODEL]`"""
    if not argument:
        repl.ready()
        talker = repl.chat.talker
        repl.say(f"{repl.chat.model.name}, {talker.n_ctx:,} tokens of context: {repl.chat.model.path}")
        return
    repl.chat.use(None, repl.chat.model)
    if repl.interactive:
        repl.say(f"Loading {argument} …")
    repl.models.exchange(argument)
    settings = repl.chat.settings
    if repl.models.talker().model.dialect.default_effort is None and (
        settings.effort or settings.max_reasoning_tokens is not None
    ):
        repl.chat.settings = replace(settings, effort=None, max_reasoning_tokens=None)
        repl.say("This model knows no effort: it is left out from now on.")
    repl.ready()
    repl.say(f"{repl.chat.model.name} goes on with the conversation.")


def reasoning(repl: "Repl", argument: str) -> None:
    """`/reasoning [show|fold|hide]`"""
    if argument:
        repl.view.reasoning = msgspec.convert(argument, ShowReasoning)
    repl.say(f"Reasoning: {repl.view.reasoning}.")


def set_(repl: "Repl", argument: str) -> None:
    """`/set [NAME [VALUE]]`"""
    name, _, value = argument.partition(" ")
    if name and name not in SETTINGS:
        raise UsageError(f"there is no setting {name}", f"There are {', '.join(SETTINGS)}.")
    if value.strip():
        try:
            repl.chat.settings = _changed(repl.chat.settings, name, value.strip(), repl.chat.answers)
        except RequestError as error:
            raise UsageError(error.message) from None
    for known, about in SETTINGS.items():
        if name in ("", known):
            repl.say(f"{known} {_shown(repl.chat.settings, known)}  ({about})")


def tools(repl: "Repl", _argument: str) -> None:
    """`/tools`"""
    tools = repl.chat.tools
    if not tools.offered:
        repl.say("There are no functions. ossctl chat --tool-cmd NAME=COMMAND gives the model one.")
    for tool in tools.offered:
        command = tools.commands.get(tool.name)
        runs = f"{' '.join(command.argv)}, at most {duration(command.seconds)}" if command else "no program"
        repl.say(f"{tool.name}: {tool.description or 'no description'} ({runs})")


def _changed(settings: ChatSettings, name: str, value: str, answers: int) -> ChatSettings:
    """The settings with another value. Raises UsageError, RequestError for one that can't be."""
    field = _FIELDS.get(name, name)
    off = value == _OFF and name in _CAN_BE_OFF
    try:
        parsed: Any = getattr(ChatSettings(), field) if off else _PARSE[name](value)
    except ValueError:
        raise UsageError(f"{name} cannot be {value}") from None
    if name == "seed":  # of the next answer: every other before it had the one before
        parsed = (parsed - answers) % 2**64
    if name in _LEAST and not off and parsed < _LEAST[name]:
        raise UsageError(f"{name} cannot be {value}")
    return replace(settings, **{field: parsed})


def _shown(settings: ChatSettings, name: str) -> str:
    if name == "stop":
        return ", ".join(map(repr, settings.stops)) or _OFF
    value = getattr(settings, name)
    return _OFF if value is None else str(value)
