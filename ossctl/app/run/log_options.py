"""The options of `ossctl run` for its log."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ossctl.app.run.progress import RunProgress
from ossctl.app.run.run import RunRequest
from ossctl.errors import UsageError
from ossctl.settings import Paths

if TYPE_CHECKING:  # loads SQLite, which most runs do not wait for
    from ossctl.app.run.log import Earlier
    from ossctl.app.sessions.stored import SessionModel


@dataclass(frozen=True)
class LogOptions:
    """Whether a run is logged, if the user says so, and what it continues."""

    wanted: bool | None
    is_ordered: bool  # on the command line
    earlier: "Earlier | None" = None

    @property
    def keeps(self) -> bool:
        """Whether the run is logged: one that continues another, unless the user forbids it."""
        return self.earlier is not None if self.wanted is None else self.wanted

    def keep(
        self,
        progress: RunProgress,
        request: RunRequest,
        model: Callable[[], "SessionModel"],
        warn: Callable[[str], None],
    ) -> str:
        """Log what a run has generated, if that is wanted; return a sentence about it, or ""."""
        if not self.keeps:
            return ""
        from ossctl.app.run.log import RunLog

        path = Paths.from_environment().sessions
        problem = RunLog(path, request.settings, model(), request.title, self.earlier).save(progress)
        if problem:
            warn(f"This run is not in the log: {problem}")
            return ""
        return "The answer so far is in the log."

    def refuse(self, option: str) -> None:
        """Raise UsageError if something was given that has no meaning with `option`."""
        if self.earlier is not None:
            raise UsageError(f"--continue and --resume cannot be used with {option}")
        if self.is_ordered and self.wanted:
            raise UsageError(f"--log cannot be used with {option}")
