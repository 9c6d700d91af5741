"""The function `python`: an interpreter per conversation, which starts at the first call."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Literal

import msgspec

from ossctl.app.tools.arguments import arguments_of
from ossctl.app.tools.python.bubblewrap import BubblewrapPlace
from ossctl.app.tools.python.container import ContainerPlace
from ossctl.app.tools.python.interpreter import SHARED, Cell, Interpreter, Limits, Place, Unavailable
from ossctl.app.tools.python.monty import MontyPlace
from ossctl.app.tools.source import KeepGoing, ToolOutcome, failed, stopped
from ossctl.dialect import Tool, ToolCall
from ossctl.errors import UsageError

PlaceName = Literal["monty", "bwrap", "container"]
PLACES: Mapping[PlaceName, Callable[[], Place]] = {
    "monty": MontyPlace,
    "bwrap": BubblewrapPlace,
    "container": ContainerPlace,
}

# The words of openai-harmony's ToolNamespaceConfig.python, which gpt-oss knows, as far as they are true.
_DESCRIPTION = (
    "Use this tool to execute Python code in your chain of thought. The code will not be shown to the user. "
    "This tool should be used for internal reasoning, but not for code that is intended to be visible to the "
    "user (e.g. when creating plots, tables, or files).\n\n"
    "When you send a message containing Python code to python, it will be executed in a stateful Jupyter "
    "notebook environment. python will respond with the output of the execution or time out after {seconds} "
    "seconds. {files}Internet access for this session is disabled. {missing}"
)
_FILES = f"The drive at '{SHARED}' holds the user's files and is read-only. "
_PARAMETERS = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
_LOST = "The interpreter has ended: its variables and imports are lost. The next call starts a new one."


class _Arguments(msgspec.Struct):
    code: str


class PythonSource:
    """Python for the model, in the place `name`, or in the first place that works here.

    `shared` is a folder that the code can read.
    """

    concurrent = False  # the calls of a conversation share variables

    def __init__(
        self,
        name: PlaceName | None,
        limits: Limits,
        shared: Path | None = None,
        places: Mapping[PlaceName, Callable[[], Place]] = PLACES,
    ) -> None:
        if shared is not None and not shared.is_dir():
            raise UsageError(f"--python-files {shared}: there is no such folder")
        self._name = name
        self._limits = limits
        self._shared = shared.resolve() if shared else None
        self._places = places
        self._lock = Lock()
        self._chosen: tuple[Place, list[Unavailable]] | None = None

    def tools(self) -> Sequence[Tool]:
        """The function `python`. Raises UsageError if there is no place to run it."""
        place, _ = self._choice()
        description = _DESCRIPTION.format(
            seconds=float(self._limits.seconds), files=_FILES if self._shared else "", missing=place.missing
        )
        return [Tool("python", description, _PARAMETERS, native="python")]

    def notes(self) -> Sequence[str]:
        """What the user should know: where the code runs if that was not asked for, and what it can read."""
        place, passed = self._choice()
        notes = []
        if passed:
            reasons = "; ".join(each.reason for each in passed)
            notes.append(f"Python runs in {place.title}: {reasons}.")
        if self._shared is not None:
            notes.append(f"The model's Python can read {self._shared} as {SHARED}.")
        return notes

    def describe(self, _name: str, /) -> str:
        """Where the code runs."""
        place, _ = self._choice()
        return f"{place.title}, at most {self._limits.seconds:g} s"

    def open(self) -> "PythonSession":
        """Begin a conversation."""
        place, _ = self._choice()
        return PythonSession(lambda: place.start(self._limits, self._shared))

    def close(self) -> None:
        """End the place."""
        if self._chosen is not None:
            self._chosen[0].close()

    def _choice(self) -> tuple[Place, list[Unavailable]]:
        with self._lock:
            if self._chosen is None:
                self._chosen = _choose(self._name, self._places)
            return self._chosen


def _choose(
    name: PlaceName | None, places: Mapping[PlaceName, Callable[[], Place]]
) -> tuple[Place, list[Unavailable]]:
    """The place `name` or the first that works, and why those before it do not. Raises UsageError."""
    passed: list[Unavailable] = []
    for make in places.values() if name is None else [places[name]]:
        place = make()
        try:
            place.check()
        except Unavailable as error:
            passed.append(error)
        else:
            return place, passed
    if name is not None:
        raise UsageError(f"--python-in {name}: {passed[0].reason}", passed[0].hint)
    reasons = "; ".join(each.reason for each in passed)
    raise UsageError(f"--python: Python for the model cannot run here: {reasons}", passed[0].hint)


class PythonSession:
    """One conversation: an interpreter from the first call on, and a new one after each that was lost."""

    def __init__(self, start: Callable[[], Interpreter]) -> None:
        self._start = start
        self._interpreter: Interpreter | None = None

    def question(self, _call: ToolCall) -> str | None:
        """Nothing outside can be touched."""
        return None

    def run(self, call: ToolCall, keep_going: KeepGoing) -> ToolOutcome:
        """Run the code of a call."""
        try:
            code = arguments_of(call, _Arguments).code
        except ValueError as error:
            return failed(call, str(error))
        if not keep_going():
            return stopped(call)
        try:
            if self._interpreter is None:
                self._interpreter = self._start()
        except Unavailable as error:
            return failed(call, error.reason)
        cell = self._interpreter.run(code, keep_going)
        if cell.lost:
            self.close()
        return ToolOutcome(call, _result(cell), ok=not cell.error)

    def close(self) -> None:
        """End the interpreter."""
        interpreter, self._interpreter = self._interpreter, None
        if interpreter is not None:
            interpreter.close()


def _result(cell: Cell) -> str:
    """The text for the model."""
    parts = [cell.output.rstrip("\n"), cell.error, _LOST if cell.lost else ""]
    return "\n".join(filter(None, parts)) or "[the code printed nothing]"
