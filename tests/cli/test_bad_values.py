"""A value that an option does not take, on the command line or in a file, is an error of the user's."""

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from ossctl.cli.bad_value import bad_value
from ossctl.cli.config_keys import ConfigKeys
from ossctl.cli.configured import configure
from ossctl.cli.main import app
from ossctl.config.config import Config
from ossctl.config.file import ConfigFile
from ossctl.errors import OssctlError
from tests.support.command import ossctl

PROGRAM: Any = typer.main.get_command(app)
KEYS = ConfigKeys(PROGRAM)
OPTIONS = {  # those that commands share are tried with one of them
    (name, option.help): pytest.param(words, name, id=f"{'.'.join(words)}.{name}")
    for words, options in KEYS.commands.items()
    for name, option in options.items()
}
VALUES: tuple[Any, ...] = (
    "2", "many", "", 2, -1, 2.5, 2.0, 10**30, float("nan"), float("inf"), True, False, [], ["a"], [1], [True],
    [[1]], [{}], {}, {"a": 1}, {"a": {"b": 1}}, dt.date(2026, 1, 2), dt.time(1, 2),
)  # fmt: skip


def command_of(words: tuple[str, ...]) -> Any:
    found = PROGRAM
    for word in [" ".join(words)] if " ".join(words) in PROGRAM.commands else words:
        found = found.commands[word]
    return found


def configs(words: tuple[str, ...], name: str, value: Any) -> Iterator[tuple[Config, list[str]]]:
    """A file with the value in the section of the command, and one with it in a preset."""
    path = Path("config.toml")
    table: Any = {name: value}
    for word in reversed(words):
        table = {word: table}
    yield Config(ConfigFile(path, table)), []
    if any(each.name == "presets" for each in command_of(words).params):
        yield Config(ConfigFile(path, {"preset": {"p": {name: value}}})), ["-P", "p"]


def refusal(words: tuple[str, ...], config: Config, args: list[str]) -> str:
    """Why the options of a command do not take the values of a config; "" if they do."""
    command = command_of(words)
    probe = command.make_context("ossctl", [*args], resilient_parsing=True)
    try:
        configured = configure(KEYS, config, words, probe, args)
        command.make_context("ossctl", configured.args, default_map=configured.defaults)
    except OssctlError as error:
        return error.message
    except typer.BadParameter as error:
        return f"config.toml: {bad_value(error)}"
    except typer.Exit:
        pass
    return ""


@pytest.mark.parametrize(("words", "name"), OPTIONS.values())
def test_every_option_takes_or_refuses_a_value_of_any_type(words: tuple[str, ...], name: str) -> None:
    arguments = [each for each in command_of(words).params if each.param_type_name == "argument"]
    given = ["x" for each in arguments if each.required]
    for value in VALUES:
        for config, args in configs(words, name, value):
            message = refusal(words, config, [*args, *given])
            assert message.startswith("config.toml") or not message
            assert not re.search("Input should|Value error|unable to|valid boolean", message), message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-t", "hot"), "'hot' is not a number"),
        (("--top-k", "2.5"), "'2.5' is not a whole number"),
        (("-n", "0"), "0 is less than 1"),
        (("--n", "65"), "65 is more than 64"),
    ],
)
def test_the_words_for_a_bad_value_are_ours(arguments: tuple[str, str], message: str, tmp_path: Path) -> None:
    result = ossctl("run", *arguments, "hi", cwd=tmp_path)
    assert result.code == 2
    assert result.said[-1].startswith("Error: Invalid value for ")
    assert result.said[-1].endswith(f": {message}")


def paths() -> Iterator[tuple[tuple[str, ...], Any]]:
    """The options and arguments of every command that are paths."""
    for words in KEYS.commands:
        for each in command_of(words).params:
            annotation = getattr(each, "type_descriptor", None) and each.type_descriptor.annotation
            if annotation in (Path, list[Path]):
                yield words, each


def test_there_are_paths_of_every_kind() -> None:
    names = {each.name for _, each in paths()}
    assert {"source", "sink", "files", "report", "grammar", "output", "outputs", "svg", "text"} <= names


@pytest.mark.parametrize(
    ("words", "option"), [pytest.param(*each, id=f"{'.'.join(each[0])}.{each[1].name}") for each in paths()]
)
def test_an_empty_path_is_refused_as_what_it_is(words: tuple[str, ...], option: Any) -> None:
    arguments = [] if option.param_type_name == "argument" else [f"{max(option.opts, key=len)}="]
    given = [
        "" if each is option else "x"
        for each in command_of(words).params
        if each.param_type_name == "argument" and (each.required or each is option)
    ]
    with pytest.raises(typer.BadParameter) as caught:
        command_of(words).make_context("ossctl", [*arguments, *given])
    assert caught.value.message == "the path is empty"
    assert caught.value.param is option


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("batch", "-", "-o", ""), "Error: Invalid value for '-o' / '--output': the path is empty"),
        (("batch", ""), "Error: Invalid value for 'IN': the path is empty"),
        (("compare", "-f", ""), "Error: Invalid value for '-f' / '--file': the path is empty"),
        (("run", "-s", "@", "hi"), "ossctl: @: the path is empty"),
        (("run", "-p", "@", "hi"), "ossctl: @: the path is empty"),
        (("run", "--files", ":rw", "-y", "hi"), "ossctl: --files :rw: the path is empty"),
        (("config", "from", ""), "ossctl: the path is empty"),
    ],
)
def test_a_variable_of_the_shell_that_is_not_set_is_no_path(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    result = ossctl(*arguments, cwd=tmp_path)
    assert (result.code, result.stdout) == (2, "")
    assert message in result.said


def test_a_variable_with_a_bad_value_is_reported_in_the_same_words(tmp_path: Path) -> None:
    result = ossctl("run", "hi", cwd=tmp_path, OSSCTL_LOG="perhaps")
    assert result.code == 2
    assert "'perhaps' is neither true nor false" in result.said[-1]


def test_a_mistake_that_is_an_error_is_no_warning_as_well(tmp_path: Path) -> None:
    file = tmp_path / "home" / "config" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("[model]\nfoo = 1\n", "utf-8")
    result = ossctl("run", "-m", "foo", "hi", cwd=tmp_path)
    assert result.code == 2
    assert result.said == [f"ossctl: {file}, line 2: model.foo is not a table", "Write [model.foo]."]


def test_no_usage_line_has_brackets_within_brackets() -> None:
    for words in KEYS.commands:
        command = command_of(words)
        usage = command.get_usage(command.make_context(" ".join(words), [], resilient_parsing=True))
        assert not re.search(r"\[\[|\.\.\.[\]}]", usage), usage
