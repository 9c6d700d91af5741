"""Applies the config files and presets to a command, before Typer reads its arguments.

The precedence is Typer's own: command line, environment, `default_map`, default. The files become the
`default_map`. A preset stands for the options in it, so that these are put before the arguments.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ossctl.cli.config_keys import ConfigKeys, as_given, merges, options_of
from ossctl.cli.options import TYPED, source_of
from ossctl.cli.output import Output
from ossctl.config.config import DEFAULTS, Config, Setting, Settings, load_config, nearest, settings_in
from ossctl.config.file import ConfigFile, dotted
from ossctl.config.trust import MODEL
from ossctl.errors import UsageError

PRESET_PARAMETER = "presets"
_KEY = "ossctl.config"  # in Typer's context

_RUNNING = frozenset({"tool-cmd", "python", "python-in", "python-files", "mcp", "files", "browser"})
_FORMATS = frozenset({"schema", "regex", "choice", "grammar"})

Exclusive = tuple[frozenset[str], ...]

# Options of which the one with precedence removes the others.
_EXCLUSIVE: Exclusive = (
    _FORMATS,
    frozenset({"text", "csv", "tsv"}),
    frozenset({"no-cache", "cache-size"}),
    frozenset({"fail-fast", "max-errors"}),
    frozenset({"engines", "hosts", "cluster"}),
    frozenset({"isolate", "hosts"}),  # but not `engines`
    frozenset({"isolate", "cluster"}),
    frozenset({"rpc", "hosts"}),
    frozenset({"rpc", "cluster"}),
    frozenset({"json", "csv", "markdown", "html"}),
    frozenset({"json", "llama-args"}),
    frozenset({"json", "blind"}),
    frozenset({"vram", "gpu"}),
)
# The same, of one command.
_EXCLUSIVE_IN: Mapping[tuple[str, ...], Exclusive] = {("eval",): (frozenset({"limit", "sample"}),)}
# An option on the command line, and the options of config files that have no meaning with it.
_REPLACES: Mapping[str, frozenset[str]] = {
    "raw": _FORMATS
    | _RUNNING
    | {"system", "tool", "effort", "think", "max-reasoning-tokens", "template", "template-var"},
    "serve-stdin": _FORMATS | {"prompt", "file", "system", "raw", "n", "output", "json", "extract"},
    "n": _RUNNING,
    **dict.fromkeys(_RUNNING, frozenset({"n"})),
    "resume": frozenset({"continue", "overwrite"}),
    "overwrite": frozenset({"resume"}),
    "continue": frozenset({"resume"}),
    "deterministic": frozenset({"draft"}),
}
# An option of config files, and those of which one is needed to give it a meaning.
_NEEDS: Mapping[str, frozenset[str]] = {
    "pull": frozenset({"hosts", "cluster"}),
    "python-files": frozenset({"python", "python-in"}),
    "retry-failed": frozenset({"resume"}),
    "retry-cut": frozenset({"resume"}),
}


@dataclass(frozen=True)
class Applied:
    """The settings that count for a command, by the names of Typer's parameters."""

    presets: Mapping[str, Setting] = field(default_factory=dict)
    defaults: Mapping[str, Setting] = field(default_factory=dict)

    def setting(self, name: str, source: str) -> Setting | None:
        """The setting that a parameter's value is from, if it is from a file. `source` is Typer's."""
        if name in self.presets:
            return self.presets[name]
        return self.defaults.get(name) if source == "DEFAULT_MAP" else None

    def explained(self, error: UsageError) -> UsageError:
        """The error with the setting that it is about, if that is from a file."""
        words = error.message.replace(":", " ").split()
        for setting in (*self.presets.values(), *self.defaults.values()):
            if f"--{setting.key[-1]}" in words and str(setting) not in error.message:
                return UsageError(error.message, f"{error.hint} It is from {setting}.".strip())
        return error


@dataclass(frozen=True)
class Configured:
    """What a command is started with: the arguments, and the defaults for Typer.

    `typed` are the parameters that the command line sets itself.
    """

    args: list[str]
    defaults: Mapping[str, Any]
    applied: Applied
    typed: Collection[str]


def apply_config(program: Any, context: Any, found: tuple[str, Any], args: list[str]) -> list[str]:
    """Set Typer's defaults for a command or a group of them, and return its arguments with the presets'.

    Raises UsageError.
    """
    name, command = found
    words, own, is_group = tuple(name.split()), args, hasattr(command, "commands")
    if is_group:
        command, words, own = command.commands.get(args[0] if args else ""), (*words, *args[:1]), args[1:]
    config = load_config()
    if command is None:
        return args
    keys = ConfigKeys(program)
    probe = command.make_context(name, [*own], parent=context, resilient_parsing=True)
    configured = configure(keys, config, words, probe, own)
    for problem in ignored(keys, config):
        Output().warning(problem)
    context.default_map = {name: {args[0]: configured.defaults} if is_group else configured.defaults}
    context.meta[_KEY] = configured.applied
    context.meta[TYPED] = configured.typed
    return [*args[: len(args) - len(own)], *configured.args]


def simulated(program: Any, config: Config, words: list[str], args: list[str]) -> tuple[Any, Applied]:
    """The context of a command that is started with `args`, and what is applied to it. Raises UsageError."""
    name, command = " ".join(words), program
    for word in [name] if name in program.commands else words:
        command = getattr(command, "commands", {}).get(word)
    if command is None or hasattr(command, "commands"):
        raise UsageError(f"there is no command {name}", nearest(name, program.commands))
    context = command.make_context(name, [*args], resilient_parsing=True)
    configured = configure(ConfigKeys(program), config, tuple(words), context, args)
    final = command.make_context(
        name, configured.args, default_map=configured.defaults, resilient_parsing=True
    )
    return final, configured.applied


def configure(
    keys: ConfigKeys, config: Config, words: tuple[str, ...], probe: Any, args: list[str]
) -> Configured:
    """Apply the config to the command `words`. `probe` is its context, parsed leniently without any config.

    Raises UsageError.
    """
    options = options_of(probe.command)
    given = {name for name, option in options.items() if source_of(probe, option.name) == "COMMANDLINE"}
    ambient = {name for name, option in options.items() if source_of(probe, option.name) == "ENVIRONMENT"}
    names = probe.params.get(PRESET_PARAMETER) or ()
    chosen = [_known(keys, config.preset(name)) for name in config.preset_chain(names)]
    exclusive = (*_EXCLUSIVE, *_EXCLUSIVE_IN.get(words, ()))
    presets = merged(chosen, options, exclusive)
    pairs = {name for name, option in options.items() if merges(option)}
    _give_way(presets, given, exclusive, pairs)
    model = _model(options, probe, given, presets, ambient)
    defaults = merged(layers(keys, config, words, model), options, exclusive)
    if model is None and (default := defaults.get(MODEL)) and isinstance(default.value, str):
        settings = layers(keys, config, words, default.value)
        defaults = merged(settings, options, exclusive) | {MODEL: default}
    _give_way(defaults, given | presets.keys(), exclusive, pairs)
    for name in ambient & defaults.keys():
        del defaults[name]
    _drop_unused((presets, defaults), given | ambient)
    put = []
    for name in pairs & (given | presets.keys()):
        found = [settings.pop(name, None) for settings in (defaults, presets)]
        put += _added_pairs(name, options[name], found, probe)
    values = {options[name].name: as_given(options[name], defaults[name]) for name in defaults}
    put += [part for name, setting in presets.items() for part in _arguments(name, options[name], setting)]
    values |= {options[name].name: False for name, setting in presets.items() if setting.value is False}
    return Configured(
        [*put, *args],
        values,
        Applied(
            {options[name].name: setting for name, setting in presets.items()},
            {options[name].name: setting for name, setting in defaults.items()},
        ),
        frozenset(options[name].name for name in given),
    )


def layers(keys: ConfigKeys, config: Config, words: tuple[str, ...], model: str | None) -> Iterator[Settings]:
    """The settings for a command and a model, from the least to the most important."""
    chain = config.model_chain(model) if model is not None else []
    for file in config.files:
        yield _known(keys, settings_in(file, (DEFAULTS,)))
        yield settings_in(file, words)
        for name in reversed(chain):
            settings = _known(keys, settings_in(file, (MODEL, name)))
            yield {option: setting for option, setting in settings.items() if option != MODEL}


def _known(keys: ConfigKeys, settings: Settings) -> Settings:
    """The settings that their section may have: not `yes` for all commands."""
    return {option: setting for option, setting in settings.items() if keys.knows(setting.key)}


def merged(sections: Iterable[Settings], options: Mapping[str, Any], exclusive: Exclusive) -> Settings:
    """The settings of several sections, of which later ones take precedence, for a command with `options`."""
    found: Settings = {}
    for settings in sections:
        for name in [name for name in settings if name in options]:
            setting, earlier = settings[name], found.pop(name, None)
            if earlier and merges(options[name]):
                setting = Setting(setting.file, setting.key, {**_pairs(earlier), **_pairs(setting)})
            if setting.value is not False:
                _exclude(found, name, exclusive)
            found[name] = setting
    return found


def _pairs(setting: Setting) -> dict[str, Any]:
    """A table as it is; each NAME=VALUE of a list as an entry of one."""
    if isinstance(setting.value, dict):
        return setting.value
    texts = setting.value if isinstance(setting.value, list) else [setting.value]
    return {name: value for name, _, value in (str(text).partition("=") for text in texts)}


def _give_way(
    settings: Settings, names: Collection[str], exclusive: Exclusive, pairs: Collection[str]
) -> None:
    """Remove the settings over which the options `names` take precedence; those in `pairs` are merged."""
    for name in names:
        _exclude(settings, name, exclusive)
        for other in (_REPLACES.get(name, frozenset()) | ({name} - {*pairs})) & settings.keys():
            del settings[other]


def _exclude(settings: Settings, name: str, exclusive: Exclusive) -> None:
    """Remove the settings that cannot be combined with the option `name`."""
    for other in {other for group in exclusive if name in group for other in group - {name}}:
        settings.pop(other, None)


def _drop_unused(found: Collection[Settings], given: Collection[str]) -> None:
    """Remove the settings that have no meaning without options that are not set."""
    present = set(given)
    present |= {name for settings in found for name, each in settings.items() if each.value is not False}
    for name, needed in _NEEDS.items():
        if needed.isdisjoint(present):
            for settings in found:
                settings.pop(name, None)


def _model(
    options: Mapping[str, Any], probe: Any, given: set[str], presets: Settings, ambient: set[str]
) -> str | None:
    """The model that the command is for: that of the command line, a preset or the environment."""
    if MODEL in presets and MODEL not in given:
        value = as_given(options[MODEL], presets[MODEL])
    elif MODEL in given | ambient:
        value = probe.params.get(options[MODEL].name)
    else:
        value = None if MODEL in options else probe.params.get(MODEL)  # an argument
    several = [value] if isinstance(value, str) else [*(value or ())]
    return several[0] if len(several) == 1 else None


def _added_pairs(name: str, option: Any, settings: Iterable[Setting | None], probe: Any) -> list[str]:
    """The NAME=VALUE of files and presets, as arguments, without those that the command line has."""
    texts = [text for setting in settings if setting for text in as_given(option, setting)]
    by_name = {text.partition("=")[0]: text for text in texts}
    for text in probe.params.get(option.name) or ():
        by_name.pop(text.partition("=")[0], None)
    return [f"--{name}={text}" for text in by_name.values()]


def _arguments(name: str, option: Any, setting: Setting) -> list[str]:
    value = as_given(option, setting)
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    if option.count:
        return [f"--{name}"] * value
    return [f"--{name}={each}" for each in (value if isinstance(value, list) else [value])]


def ignored(keys: ConfigKeys, config: Config) -> Iterator[str]:
    """A line about what is ignored in each file."""
    for file in config.files:
        if problem := _ignored(keys, config, file):
            yield problem


def _ignored(keys: ConfigKeys, config: Config, file: ConfigFile) -> str:
    unknown = [*keys.unknown(file)]
    if unknown:
        (key, suggestion), *others = unknown
        more = f" `ossctl config check` lists {len(others)} more." if others else ""
        return f"{file.where(key)}: unknown key {dotted(key)} is ignored. {suggestion}{more}".rstrip()
    if file.withheld:
        first, *rest = file.withheld
        what = f"{dotted(first)} and {len(rest)} more are" if rest else f"{dotted(first)} is"
        where = f" in {config.user.path}" if config.user else " in your config.toml"
        return f"{file.where(first)}: {what} ignored, because this folder is not in `trusted`{where}."
    return ""


def applied_to(context: Any) -> Applied:
    """What was applied to the command of `context`."""
    applied = context.meta.get(_KEY)
    return applied if isinstance(applied, Applied) else Applied()
