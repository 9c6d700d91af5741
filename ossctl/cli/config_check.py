"""Finds the mistakes in config files."""

from collections.abc import Callable, Iterator
from typing import Any

import typer

from ossctl.cli.bad_value import bad_value
from ossctl.cli.config_keys import ConfigKeys, as_given, keys_of, names_table
from ossctl.cli.parsed_values import check_parsed
from ossctl.config.config import Config, Setting
from ossctl.config.file import ConfigFile, dotted
from ossctl.config.key_lines import Key
from ossctl.config.trust import MCP, MODEL, PRESET
from ossctl.errors import OssctlError, UsageError


def problems(keys: ConfigKeys, config: Config, context: typer.Context) -> Iterator[str]:
    """What is wrong in the files, a line for each mistake."""
    for file in config.files:
        for key, suggestion in keys.unknown(file):
            if names_table(key):  # `_of_names` reports it
                continue
            yield f"{file.where(key)}: unknown key {dotted(key)}. {suggestion}".rstrip()
        for key in file.withheld:
            if keys.knows(key):
                yield f"{file.where(key)}: {dotted(key)} is ignored, because this folder is not in `trusted`"
        yield from _values(keys, file, context)
    yield from _of_names(config, MODEL, _check_alias)
    yield from _of_names(config, PRESET, _check_preset)
    yield from _of_names(config, MCP, _check_server)


def checked_value(option: Any, setting: Setting, context: typer.Context) -> Any:
    """The value of a setting as Typer gives it to the command. Raises UsageError."""
    try:
        return option.process_value(context, as_given(option, setting))
    except typer.BadParameter as error:
        raise UsageError(f"{setting}: {bad_value(error)}") from None


def _values(keys: ConfigKeys, file: ConfigFile, context: typer.Context) -> Iterator[str]:
    sections: dict[Key, dict[str, Any]] = {}
    for key, value in keys_of(keys, file):
        options = keys.section(key[:-1]) or {}
        if key[-1] not in options or key in file.withheld:
            continue
        option, setting = options[key[-1]], Setting(file, key, value)
        try:
            checked = checked_value(option, setting, context)
            if not key[0] == key[-1] == MODEL:  # `_of_names` reports it
                check_parsed(setting, option.name, checked)
            sections.setdefault(key[:-1], {})[option.name] = checked
        except UsageError as error:
            yield error.message
    for key, values in sections.items():
        for message in section_problems(values):
            yield f"{file.where(key)}: [{dotted(key)}]: {message}"


def section_problems(values: dict[str, Any]) -> Iterator[str]:
    """What the values of one section have against each other, or against the ranges of options."""
    from dataclasses import fields

    from ossctl.app.inference.options import GenerationOptions, json_format_of
    from ossctl.app.inference.prompt_template import prompt_template
    from ossctl.app.inference.template_options import TemplateOptions

    known = {field.name for field in fields(GenerationOptions)} - {"date", "think"}
    of_generation = {name: value for name, value in values.items() if name in known and value is not None}

    def sampling() -> None:
        GenerationOptions(**of_generation).sampling(0)

    def formats() -> None:
        options = GenerationOptions(**of_generation)
        options.text_format()
        json_format_of(options.schema)

    def templates() -> None:
        options = TemplateOptions(values.get("template"), values.get("template_variables") or ())
        options.template()
        options.values()

    def prompt() -> None:
        given = values.get("prompt") or values.get("template_prompt")
        if given is not None:
            prompt_template(given, values.get("variables") or ())

    checks = (sampling, formats, templates, prompt)
    yield from dict.fromkeys(message for check in checks for message in _messages(check))


def _messages(check: Callable[[], None]) -> Iterator[str]:
    try:
        check()
    except OssctlError as error:
        yield error.message


def _of_names(config: Config, kind: str, check: Callable[[Config, str], None]) -> Iterator[str]:
    """What `check` finds at the names of a kind. Each cycle is reported once."""
    cycles = 0
    try:
        names = config.names(kind)
    except UsageError as error:
        yield f"{error.message}. {error.hint}"
        return
    for name in names:
        try:
            check(config, name)
        except OssctlError as error:
            is_cycle = " form a cycle: " in error.message
            cycles += is_cycle
            if not is_cycle or cycles == 1:
                yield f"{error.message}. {error.hint}".removesuffix(". ")


def _check_alias(config: Config, name: str) -> None:
    from ossctl.app.library.resolve import check_name

    chain = config.model_chain(name)
    try:
        check_name(chain[-1])
    except OssctlError as error:
        last = config.aliases().get(chain[-2] if len(chain) > 1 else name)
        where = str(last) if last else dotted((MODEL, name))
        raise UsageError(f"{where}: {error.message}", error.hint) from None


def _check_preset(config: Config, name: str) -> None:
    config.preset_chain([name])


def _check_server(config: Config, name: str) -> None:
    from ossctl.app.tools.mcp.server_file import server_of

    if found := config.server(name):
        table, where = found
        server_of(name, dict(table), where)
