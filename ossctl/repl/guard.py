"""Runs the callbacks of the prompt, so that none of them can end the chat."""

import traceback
from collections.abc import Callable
from typing import TypeVar

from ossctl.errors import OssctlError
from ossctl.settings import save_crash_report

Result = TypeVar("Result")


class Guard:
    """Keeps the latest error of the callbacks, for the toolbar."""

    def __init__(self) -> None:
        self.problem = ""

    def call(self, function: Callable[[], Result], otherwise: Result) -> Result:
        """What `function` returns, or `otherwise` if it raises."""
        try:
            return function()
        except Exception as error:  # noqa: BLE001 (the boundary of the prompt)
            self.note(error)
            return otherwise

    def note(self, error: BaseException) -> None:
        """Keep an error. The traceback of an unexpected one is saved."""
        problem = describe(error)
        if not isinstance(error, OssctlError) and problem != self.problem:
            save_crash_report("".join(traceback.format_exception(error)))
        self.problem = problem

    def clear(self) -> None:
        """Forget the error: the user has seen it."""
        self.problem = ""


def describe(error: BaseException) -> str:
    """One line for an error, expected or not."""
    if isinstance(error, OssctlError):
        return error.message
    return f"unexpected error: {type(error).__name__}: {error}"
