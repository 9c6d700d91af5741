"""What errors of Ray mean for a node, in words."""

import re
from dataclasses import dataclass

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_NODE_DIED = re.compile(r"node (has died|was terminated|is dead)")
_MEMORY_FULL = re.compile(r"memory monitor|running low on memory")
_MAX_REASON = 200  # characters


@dataclass(frozen=True)
class Death:
    """Why an actor no longer answers. `final` if another one on the same node would end in the same way.

    `innocent` is as in `Lost`.
    """

    reason: str
    final: bool = False
    innocent: bool = False


def death_of(error: BaseException) -> Death:
    """Classify what a call of an actor raised, by names: Ray may not be installed.

    ActorUnschedulableError is no RayActorError (Ray 2.60). An actor that cannot be made has the error as the
    last line of a long text, mostly a module that is not there.
    """
    names = {each.__name__ for each in type(error).__mro__}
    text = str(error)
    if getattr(error, "actor_init_failed", False):
        return Death(f"it could not start: {last_line(text)}", final=True)
    if "RayTaskError" in names:
        return Death(last_line(text), final=True)
    if "ActorUnschedulableError" in names or ("ActorDiedError" in names and _NODE_DIED.search(text)):
        return Death("it left the cluster", final=True)
    if "ActorUnavailableError" in names:
        return Death("the connection was lost", innocent=True)
    if "OutOfMemoryError" in names or _MEMORY_FULL.search(text):
        return Death("Ray killed its process, because the node ran out of memory")
    return Death("its process died" if "ActorDiedError" in names else last_line(text))


def last_line(text: str) -> str:
    """The last line that is not blank: the error itself, at the end of a traceback."""
    lines = [line.strip() for line in _COLOURS.sub("", text).splitlines() if line.strip()]
    return lines[-1][:_MAX_REASON] if lines else ""
