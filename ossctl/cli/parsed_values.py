"""Values that commands parse themselves, after Typer: their own parsers check those of config files.

Each parser here gets the value of an option as its command does, and raises OssctlError as that would.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ossctl.config.config import Setting
from ossctl.errors import OssctlError, UsageError

# Sections whose options of this name take other values than elsewhere.
_OTHERS = {("worker", "device"), ("cache", "model")}


def check_parsed(setting: Setting, parameter: str, value: Any) -> None:
    """Raise UsageError if the command would refuse what its `parameter` of Typer's gets from a setting."""
    parse = _PARSERS.get(parameter)
    if parse is None or value is None or (setting.key[0], setting.key[-1]) in _OTHERS:
        return
    try:
        parse(value)
    except OssctlError as error:
        raise UsageError(f"{setting}: {error.message}", error.hint) from None


def _system(given: str) -> None:
    from ossctl.app.user_text import text_of

    text_of(given)


def _variables(given: Sequence[str]) -> None:
    from ossctl.app.inference.prompt_template import prompt_template

    prompt_template("{{ input }}", given)


def _models(given: str | Sequence[str]) -> None:
    from ossctl.app.library.references import split_references

    for name in split_references([given] if isinstance(given, str) else given):
        _model(name)


def _model(given: str) -> None:
    from ossctl.app.library.resolve import check_name
    from ossctl.config.alias import model_behind

    check_name(model_behind(given))


def _engines(given: str) -> None:
    from ossctl.app.sites.engines import engine_places

    engine_places(given)


def _hosts(given: str) -> None:
    from ossctl.app.sites.hosts import parse_hosts

    parse_hosts(given)


def _cluster(given: str) -> None:
    from ossctl.app.sites.cluster.connection import check_form

    check_form(given)


def _shard(given: str) -> None:
    from ossctl.app.wire.shard import Shard

    Shard.parse(given)


def _device(given: str) -> None:
    from ossctl.app.placement.load_options import device_names

    device_names(given)


def _rpc(given: str) -> None:
    from ossctl.app.placement.workers import addresses_of

    if given:  # else none
        addresses_of(given)


def _listen(given: str) -> None:
    from ossctl.app.worker.serve import host_and_port

    host_and_port(given)


def _machine(option: str) -> Callable[[Any], None]:
    def check(given: Any) -> None:
        from ossctl.app.plan.report import MachineOptions
        from ossctl.planning.machine import Machine

        replace(MachineOptions(), **{option: given}).machine(lambda: Machine((), 0, 0, 1))

    return check


def _settings(option: str) -> Callable[[Any], None]:
    def check(given: Any) -> None:
        from ossctl.app.compare.options import CompareOptions

        replace(CompareOptions(), **{option: given}).settings()

    return check


def _tools(option: str) -> Callable[[Any], None]:
    def check(given: Any) -> None:
        from ossctl.app.tools.options import ToolOptions

        replace(ToolOptions(), **{option: given}).toolbox()

    return check


def _python_files(given: Path) -> None:
    from ossctl.app.tools.options import ToolOptions

    ToolOptions(python_files=given).new_python()


def _arguments(given: Sequence[str]) -> None:
    from ossctl.app.eval.tasks import arguments_of

    arguments_of(given)


def _sinks(given: Sequence[Path]) -> None:
    from ossctl.app.compare.store import Outputs

    Outputs(given, overwrite=True).check()


def _report(given: Path) -> None:
    from ossctl.app.bench.comparison import read_report

    read_report(given)


_PARSERS: Mapping[str, Callable[[Any], None]] = {
    "system": _system,
    "variables": _variables,
    "model": _model,
    "models": _models,
    "judge": _model,
    "against": _model,
    "engines": _engines,
    "hosts": _hosts,
    "cluster": _cluster,
    "shard": _shard,
    "device": _device,
    "rpc": _rpc,
    "listen": _listen,
    "vram": _machine("vram"),
    "ram": _machine("ram"),
    "gpu": _machine("gpu"),
    "efforts": _settings("efforts"),
    "thinks": _settings("thinks"),
    "templates": _settings("templates"),
    "tools": _tools("tools"),
    "commands": _tools("commands"),
    "shared_files": _tools("files"),
    "browser": _tools("browser"),
    "mcp": _tools("mcp"),
    "python_files": _python_files,
    "arguments": _arguments,
    "sinks": _sinks,
    "compare": _report,
}
