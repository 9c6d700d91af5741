"""`/tools` and `/python`: the functions that the model may call."""

from typing import TYPE_CHECKING

from ossctl.errors import UsageError

if TYPE_CHECKING:
    from ossctl.app.tools.python.source import PythonSource
    from ossctl.repl.repl import Repl


def tools(repl: "Repl", _argument: str) -> None:
    """`/tools`"""
    tools = repl.chat.tools
    if not tools.wait():
        repl.say("Some functions are still starting.")
    elif not tools.offered:
        repl.say("There are no functions. `ossctl chat --tool-cmd NAME=COMMAND` offers one to the model.")
    for tool in tools.offered:
        repl.say(f"{tool.name}: {tool.description or 'no description'} ({tools.describe(tool.name)})")


def python(repl: "Repl", argument: str) -> None:
    """`/python [on|off]`"""
    source = _python_source(repl)
    if argument == "on" and source is None:
        if repl.new_python is None:
            raise UsageError("this chat has no Python")
        repl.load()
        if not repl.chat.model_session.dialect.takes_tools:
            reason = f"{repl.chat.model.name} takes no functions: its chat template has none"
            raise UsageError(reason, "/template FILE gives it another one.")
        repl.chat.offer(repl.new_python())
    elif argument == "off" and source is not None:
        repl.chat.withdraw(source)
    source = _python_source(repl)
    if source is None:
        repl.say("The model has no Python.")
        return
    repl.say(f"The model may run Python: {source.describe('python')}.", *source.notes())


def keep_python(repl: "Repl") -> None:
    """Switch Python off if the loaded model takes no functions: it would refuse every message."""
    if repl.model.session().dialect.takes_tools:
        return
    source = _python_source(repl)
    if source is not None:
        repl.chat.withdraw(source)
        repl.say("This model takes no functions; Python is off.")


def _python_source(repl: "Repl") -> "PythonSource | None":
    """The model's Python; a program that the user has named `python` is something else."""
    from ossctl.app.tools.python.source import PythonSource  # only where it is used: starts stay fast

    source = repl.chat.tools.by_name.get("python")
    return source if isinstance(source, PythonSource) else None
