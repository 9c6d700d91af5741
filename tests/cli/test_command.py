"""Groups of options: declared once, received as one value."""

from collections.abc import Callable
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from ossctl.cli.command import command, redeclared
from ossctl.cli.main import app
from ossctl.cli.options import is_standing
from ossctl.errors import UsageError


def size_options(
    *,
    width: Annotated[int, typer.Option(help="How wide.")] = 2,
    height: Annotated[int, typer.Option(help="How high.")] = 3,
) -> tuple[int, int]:
    return width, height


Size = Annotated[tuple[int, int], size_options]
Height = Annotated[int, typer.Option("--tall", help="How tall.")]
TallSize = Annotated[tuple[int, int], redeclared(size_options, height=Height)]


@command
def box(*, name: Annotated[str, typer.Argument()], size: Size, deep: bool = False) -> None:
    """Draw a box."""
    typer.echo(f"{name} {size} {deep}")


@command
def tower(*, size: TallSize) -> None:
    """Draw a tower."""
    typer.echo(f"{size}")


def output(function: Callable[..., None], *arguments: str) -> str:
    program = typer.Typer(rich_markup_mode=None)
    program.command()(function)
    result = CliRunner().invoke(program, arguments)
    assert result.exit_code == 0
    return result.output


def test_a_command_receives_the_value_of_its_group() -> None:
    assert output(box, "a", "--width", "7", "--deep") == "a (7, 3) True\n"
    assert output(box, "a") == "a (2, 3) False\n"


def test_the_options_of_a_group_stand_where_its_parameter_does() -> None:
    text = output(box, "--help")
    assert "Draw a box." in text
    assert text.index("--width") < text.index("--height") < text.index("--deep")
    assert "--size" not in text


def test_one_option_of_a_group_can_be_declared_anew() -> None:
    assert output(tower, "--tall", "9") == "(2, 9)\n"
    assert "How wide." in output(tower, "--help")


def test_a_group_and_the_command_can_know_where_a_value_is_from(monkeypatch: pytest.MonkeyPatch) -> None:
    def effort_options(
        *,
        context: typer.Context,
        effort: Annotated[str, typer.Option(envvar="TEST_EFFORT")] = "medium",
    ) -> str:
        return f"{effort} {is_standing(context, 'effort')}"

    @command
    def think(*, effort: Annotated[str, effort_options]) -> None:
        typer.echo(effort)

    @command
    def say(*, context: typer.Context, effort: Annotated[str, effort_options]) -> None:
        typer.echo(f"{effort} {is_standing(context, 'effort')}")

    assert output(think) == "medium False\n"
    monkeypatch.setenv("TEST_EFFORT", "low")
    assert (output(think), output(say)) == ("low True\n", "low True True\n")
    assert output(think, "--effort", "high") == "high False\n"


def error_of(*arguments: str) -> str:
    return CliRunner().invoke(app, arguments).output


def test_an_error_names_the_environment_variable_only_if_the_value_is_from_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OSSCTL_EFFORT", "low")
    assert "Invalid value for '-e' / '--effort': " in error_of("run", "-e", "huge", "x")
    monkeypatch.setenv("OSSCTL_EFFORT", "huge")
    assert "Invalid value for '-e' / '--effort' (env var: 'OSSCTL_EFFORT'): " in error_of("run", "x")


def test_an_effort_may_be_in_capitals() -> None:
    result = CliRunner().invoke(app, ["run", "-e", "HIGH", "--serve-stdin", "--schema", "{}"])
    assert isinstance(result.exception, UsageError)
    assert result.exception.message == "--schema cannot be used with --serve-stdin"


def test_run_refuses_parallel_answers_of_one_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(app, ["run", "--parallel", "4", "x"])
    assert isinstance(result.exception, UsageError)
    assert result.exception.message == "--parallel is for --serve-stdin"
    monkeypatch.setenv("OSSCTL_PARALLEL", "4")
    result = CliRunner().invoke(app, ["run", "--schema", "no such file", "x"])
    assert isinstance(result.exception, UsageError)
    assert "no such file" in result.exception.message


def test_an_option_cannot_hide_another_one_of_the_same_name() -> None:
    def crate(*, width: int = 1, size: Size) -> None:
        """Draw a crate."""

    with pytest.raises(TypeError, match="crate: two options are named width"):
        command(crate)
