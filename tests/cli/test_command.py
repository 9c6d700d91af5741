"""Groups of options: declared once, received as one value."""

from collections.abc import Callable
from typing import Annotated

import typer
from typer.testing import CliRunner

from ossctl.cli.command import command, redeclared


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
    app = typer.Typer(rich_markup_mode=None)
    app.command()(function)
    result = CliRunner().invoke(app, arguments)
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
