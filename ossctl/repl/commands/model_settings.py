"""Commands that change how the model answers, and what is shown of it."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import replace
from time import strptime
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from ossctl.app.chat.paths import user_path
from ossctl.app.chat.start import random_seed
from ossctl.app.inference.request import (
    check_reasoning,
    check_template_variables,
    supported_reasoning,
)
from ossctl.app.inference.template_options import read_template, template_variable
from ossctl.app.sessions.chat_settings import ChatSettings
from ossctl.app.user_text import text_of
from ossctl.dialect import Effort, Think
from ossctl.errors import RequestError, UsageError
from ossctl.repl.commands.answers import require_effort
from ossctl.repl.commands.functions import keep_python
from ossctl.repl.view import ShowReasoning

if TYPE_CHECKING:
    from ossctl.app.chat.chat import Chat
    from ossctl.repl.repl import Repl

# The names that `/set` takes, and what their values mean.
SETTINGS = {
    "temperature": "sampling temperature; 0 is greedy decoding",
    "top_p": "nucleus sampling: the smallest set of tokens with this total probability",
    "top_k": "sample from the K most likely tokens; 0 disables the limit",
    "min_p": "drop tokens less likely than this times the most likely one",
    "frequency_penalty": "lower the logit of a token by this for each time the answer has it",
    "presence_penalty": "lower the logits of tokens that the answer has by this",
    "repetition_penalty": "divide the logits of tokens that prompt or answer have by this; 1 is no penalty",
    "seed": "of the next answer",
    "max_tokens": "maximum length of an answer, reasoning included; off: up to the context limit",
    "max_reasoning_tokens": "limit of the reasoning; off: no limit",
    "think": "whether to reason: on, off or auto, which leaves it to the model",
    "template_var": "variable of the chat template, as NAME=VALUE; off: none",
    "stop": "text that ends an answer; off: none",
    "date": "current date to give the model; off: today",
}
_PARSE: Mapping[str, Callable[[str], Any]] = {
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "min_p": float,
    "frequency_penalty": float,
    "presence_penalty": float,
    "repetition_penalty": float,
    "seed": int,
    "max_tokens": int,
    "max_reasoning_tokens": int,
    "think": lambda text: _THINK[text.lower()],
    "template_var": lambda text: dict([template_variable(text)]),
    "stop": lambda text: (text,),
    "date": lambda text: dt.date(*strptime(text, "%Y-%m-%d")[:3]),
}
_THINK: Mapping[str, Think | None] = {"on": "on", "off": "off", "auto": None}
_FIELDS = {"stop": "stops", "template_var": "template_variables"}
_LEAST = {"max_tokens": 1, "max_reasoning_tokens": 0}
_CAN_BE_OFF = ("max_tokens", "max_reasoning_tokens", "template_var", "stop", "date")
_OFF = "off"


def effort(repl: "Repl", argument: str) -> None:
    """`/effort [EFFORT]`"""
    repl.load()
    chosen = msgspec.convert(argument, Effort) if argument else None
    require_effort(repl, chosen)
    if chosen:
        repl.chat.settings = replace(repl.chat.settings, effort=chosen)
    repl.say(f"Effort: {repl.chat.effort or 'the default'} (one of {', '.join(get_args(Effort))}).")
    if argument and repl.chat.transcript.turns:
        repl.say(
            "This changes the start of the prompt, so the next answer has to process the whole conversation "
            "again."
        )


def system(repl: "Repl", argument: str) -> None:
    """`/system [TEXT|@FILE|off]`"""
    if argument:
        text = "" if argument == _OFF else text_of(argument)
        repl.chat.settings = replace(repl.chat.settings, system=text)
    text = repl.chat.settings.system
    repl.say(f"System prompt: {text}" if text else "There is no system prompt. /system TEXT sets one.")


def model(repl: "Repl", argument: str) -> None:
    """`/model [MODEL]`"""
    if not argument:
        repl.load()
        n_ctx = repl.chat.model_session.n_ctx
        repl.say(f"{repl.chat.model.name}, context of {n_ctx:,} tokens: {repl.chat.model.path}")
        return
    repl.chat.use(None, repl.chat.model)
    if repl.surface.interactive:
        repl.say(f"Loading {argument} …")
    try:
        repl.model.exchange(str(user_path(argument)) if argument.startswith("~") else argument)
    except KeyboardInterrupt:
        raise UsageError(f"loading {argument} was stopped", f"{repl.model.name} is loaded again.") from None
    keep_supported(repl)
    repl.load()
    repl.say(f"{repl.chat.model.name} continues the conversation.")


def template(repl: "Repl", argument: str) -> None:
    """`/template [FILE|off]`"""
    if argument:
        chosen = None if argument == _OFF else read_template(user_path(argument))
        repl.load()
        repl.chat.use(None, repl.chat.model)
        try:
            repl.model.use_template(chosen)
        except KeyboardInterrupt:
            raise UsageError("stopped: the chat template stays as it was") from None
        keep_supported(repl)
        repl.load()
    used = repl.model.template
    repl.say(f"Chat template: {used.path}" if used else "The chat template is the model's own.")


def keep_supported(repl: "Repl") -> None:
    """Remove the settings, and Python, that the loaded model does not take."""
    settings, loaded = repl.chat.settings, repl.model.session().model
    names = ("effort", "max_reasoning_tokens", "think")
    repl.chat.settings = supported_reasoning(settings, loaded, names)
    for name in names:
        if getattr(settings, name) != getattr(repl.chat.settings, name):
            repl.say(f"This model has no {name} setting; it is removed.")
    try:
        check_template_variables(settings.template_variables, loaded)
    except UsageError as error:
        repl.chat.settings = replace(repl.chat.settings, template_variables={})
        repl.say(f"Template variables are removed: {error.message}.")
    keep_python(repl)


def reasoning(repl: "Repl", argument: str) -> None:
    """`/reasoning [show|fold|hide]`"""
    view = repl.surface.view
    if argument:
        view.reasoning = msgspec.convert(argument, ShowReasoning)
    repl.say(f"Reasoning: {view.reasoning}.")


def set_(repl: "Repl", argument: str) -> None:
    """`/set [NAME [VALUE]]`"""
    name, _, value = argument.partition(" ")
    if name and name not in SETTINGS:
        raise UsageError(f"there is no setting {name}", f"Settings: {', '.join(SETTINGS)}.")
    if value.strip():
        n_answers = repl.chat.history.n_answers
        try:
            changed = changed_setting(repl.chat.settings, name, value.strip(), n_answers)
            _check_for_model(repl, changed, name)
            repl.chat.settings = changed
        except RequestError as error:
            raise UsageError(error.message) from None
    for known, meaning in SETTINGS.items():
        if name in ("", known):
            repl.say(f"{known} {_shown(repl.chat, known)}  ({meaning})")


def changed_setting(settings: ChatSettings, name: str, value: str, n_answers: int) -> ChatSettings:
    """The settings with another value. Raises UsageError or RequestError if it is invalid."""
    field = _FIELDS.get(name, name)
    off = value == _OFF and name in _CAN_BE_OFF
    try:
        parsed: Any = getattr(ChatSettings(), field) if off else _PARSE[name](value)
    except (ValueError, KeyError):
        raise UsageError(f"{name} cannot be {value}") from None
    if name == "template_var" and not off:
        parsed = {**settings.template_variables, **parsed}
    if name == "seed":
        return settings.with_next_seed(random_seed() if parsed == -1 else parsed, n_answers)
    if name == "top_k" and parsed == -1:  # as other programs disable it
        parsed = 0
    if name in _LEAST and not off and parsed < _LEAST[name]:
        raise UsageError(f"{name} cannot be {value}")
    return replace(settings, **{field: parsed})


def _check_for_model(repl: "Repl", settings: ChatSettings, name: str) -> None:
    """Raise UsageError for a setting that the loaded model does not take."""
    if not repl.chat.is_ready:
        return
    loaded = repl.chat.model_session.model
    if name == "template_var":
        check_template_variables(settings.template_variables, loaded)
    elif name in ("think", "max_reasoning_tokens"):
        check_reasoning(loaded, **{name: getattr(settings, name)})


def _shown(chat: "Chat", name: str) -> str:
    settings = chat.settings
    if name == "seed":
        return str(settings.next_seed(chat.history.n_answers))
    if name == "stop":
        return ", ".join(map(repr, settings.stops)) or _OFF
    if name == "template_var":
        variables = settings.template_variables.items()
        return ", ".join(f"{key}={msgspec.json.encode(value).decode()}" for key, value in variables) or _OFF
    value = getattr(settings, name)
    if name == "think":
        return value or "auto"
    return _OFF if value is None else str(value)
