"""`/preset`: presets of the config files."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from ossctl.app.sessions.chat_settings import ChatSettings
from ossctl.app.user_text import text_of
from ossctl.config.config import Config, Setting, Settings, load_config
from ossctl.config.trust import PRESET
from ossctl.dialect import Effort
from ossctl.errors import RequestError, UsageError
from ossctl.repl.commands.model_settings import SETTINGS, changed_setting, keep_supported

if TYPE_CHECKING:
    from ossctl.repl.repl import Repl


def preset(repl: "Repl", argument: str) -> None:
    """`/preset [NAME]...`"""
    config = load_config()
    if not argument:
        names = config.names(PRESET)
        repl.say(f"Presets: {', '.join(names)}." if names else "No config file has a preset.")
        return
    settings = _settings(config, argument)
    changed, left = repl.chat.settings, []
    for option, setting in settings.items():
        try:
            applied = _applied(changed, option, setting, repl.chat.history.n_answers)
        except (UsageError, RequestError, msgspec.ValidationError, ValueError) as error:
            reason = error.message if isinstance(error, (UsageError, RequestError)) else str(error)
            raise UsageError(f"{setting}: {reason}") from None
        if applied is None:
            left.append(option)
        changed = applied or changed
    repl.chat.settings = changed
    if repl.chat.is_ready:
        keep_supported(repl)
    used = [option for option in settings if option not in left]
    repl.say(f"Set by {argument}: {', '.join(used) or 'nothing'}.")
    if left:
        repl.say(f"Only at the start of a chat, with -P: {', '.join(left)}.")


def _settings(config: Config, argument: str) -> Settings:
    merged: Settings = {}
    for name in config.preset_chain(argument.split()):
        merged |= config.preset(name)
    return merged


def _applied(settings: ChatSettings, option: str, setting: Setting, n_answers: int) -> ChatSettings | None:
    """The settings with an option of a preset; None if a running chat cannot change that."""
    value, name = setting.value, option.replace("-", "_")
    if option == "system":
        text = str(value)
        return replace(settings, system=text_of(f"@{setting.path(text[1:])}" if text[:1] == "@" else text))
    if option == "effort":
        return replace(settings, effort=msgspec.convert(value, Effort))
    if option == "stop":
        stops = tuple(map(str, value if isinstance(value, list) else [value]))
        if not all(stops):
            raise UsageError("stop is an empty text")
        return replace(settings, stops=stops)
    if name == "template_var":
        for each in _pairs(value):
            settings = changed_setting(settings, name, each, n_answers)
        return settings
    return changed_setting(settings, name, str(value), n_answers) if name in SETTINGS else None


def _pairs(value: Any) -> list[str]:
    """The NAME=VALUE of a table, or those of a list."""
    if isinstance(value, Mapping):
        return [
            f"{name}={each if isinstance(each, str) else msgspec.json.encode(each).decode()}"
            for name, each in value.items()
        ]
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]
