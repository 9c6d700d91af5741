"""Commands that take groups of options."""

import copy
import functools
import inspect
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar, get_args, get_origin

import typer

P = ParamSpec("P")
T = TypeVar("T")


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Replace each parameter that takes a group of options by the options themselves.

    A group is a function: its parameters are the options, and the command receives its result. A command
    takes one as `loading: Annotated[LoadOptions, loading_options]`. Groups and commands may also take
    Typer's `context`. Options and arguments that are paths refuse an empty one.
    """
    parameters = inspect.signature(function).parameters.values()
    groups = {each.name: group for each in parameters if (group := _group_of(each)) is not None}
    names = {each.name for each in parameters}
    options = {name: inspect.signature(group).parameters for name, group in groups.items()}

    @functools.wraps(function)
    def call(**given: Any) -> None:
        context = given.get("context")
        for name, group in groups.items():
            of_group = {option: given.pop(option) for option in options[name] if option != "context"}
            given[name] = group(**of_group | ({"context": context} if "context" in options[name] else {}))
        if "context" not in names:
            given.pop("context", None)
        function(**given)

    flat = [[*options[each.name].values()] if each.name in groups else [each] for each in parameters]
    by_name = {parameter.name: parameter for several in flat for parameter in several}
    twice = Counter(each.name for several in flat for each in several if each.name != "context")
    if clashing := [name for name, count in twice.items() if count > 1]:
        raise TypeError(f"{function.__name__}: two options are named {', '.join(clashing)}")
    _declare(call, [*map(_as_path, by_name.values())])
    return call


def path_of(given: str | Path) -> Path:
    """A path as the user gives it. `Path("")` would be the current folder."""
    if given == "":
        from ossctl.app.user_text import EMPTY_PATH

        raise typer.BadParameter(EMPTY_PATH)
    return Path(given)


def redeclared(group: Callable[P, T], **annotations: Any) -> Callable[P, T]:
    """A copy of `group` in which the named options have other annotations."""

    @functools.wraps(group)
    def call(*args: P.args, **given: P.kwargs) -> T:
        return group(*args, **given)

    parameters = inspect.signature(group).parameters.values()
    _declare(
        call, [each.replace(annotation=annotations.get(each.name, each.annotation)) for each in parameters]
    )
    return call


def without(group: Callable[P, T], *names: str) -> Callable[P, T]:
    """A copy of `group` without the named options, which keep their defaults."""

    @functools.wraps(group)
    def call(*args: P.args, **given: P.kwargs) -> T:
        return group(*args, **given)

    parameters = inspect.signature(group).parameters.values()
    _declare(call, [each for each in parameters if each.name not in names])
    return call


def _group_of(parameter: inspect.Parameter) -> Callable[..., object] | None:
    if get_origin(parameter.annotation) is not Annotated:
        return None
    return next((each for each in get_args(parameter.annotation) if inspect.isfunction(each)), None)


def _as_path(parameter: inspect.Parameter) -> inspect.Parameter:
    """The parameter with `path_of` as its parser, if it is a path or a list of them."""
    if get_origin(parameter.annotation) is not Annotated:
        return parameter
    kind, *rest = get_args(parameter.annotation)
    if not {Path, list[Path]} & {kind, *get_args(kind)}:
        return parameter
    given = copy.copy(rest[0])
    given.parser = path_of
    return parameter.replace(annotation=Annotated[kind, given])


def _declare(function: Callable[..., object], parameters: list[inspect.Parameter]) -> None:
    """Set the parameters that Typer sees."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {each.name: each.annotation for each in parameters}
