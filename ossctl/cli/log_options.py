"""The group of options for the log of `ossctl run`, and for continuing what is in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ossctl.cli.completion import complete_session
from ossctl.errors import UsageError

if TYPE_CHECKING:
    from ossctl.app.placement.load_options import LoadOptions
    from ossctl.app.run.log import Earlier
    from ossctl.app.run.progress import RunProgress
    from ossctl.app.run.run import RunRequest
    from ossctl.app.sessions.stored import SessionModel

_FIELDS = {"choices": "choice"}  # names of settings that differ from those of the options


@dataclass(frozen=True)
class LogOptions:
    """Whether a run is logged, if the user says so, and what it continues."""

    wanted: bool | None
    is_ordered: bool  # on the command line
    earlier: "Earlier | None"

    @property
    def keeps(self) -> bool:
        """Whether the run is logged: one that continues another, unless the user forbids it."""
        return self.earlier is not None if self.wanted is None else self.wanted

    def save(self, progress: "RunProgress", request: "RunRequest", model: "SessionModel") -> str:
        """Log what a run has generated; return why that failed, or ""."""
        from ossctl.app.run.log import RunLog
        from ossctl.settings import Paths

        path = Paths.from_environment().sessions
        return RunLog(path, request.settings, model, request.title, self.earlier).save(progress)

    def refuse(self, option: str) -> None:
        """Raise UsageError if something was given that has no meaning with `option`."""
        if self.earlier is not None:
            raise UsageError(f"--continue and --resume cannot be used with {option}")
        if self.is_ordered and self.wanted:
            raise UsageError(f"--log cannot be used with {option}")


def log_options(
    *,
    context: typer.Context,
    log: Annotated[
        bool | None,
        typer.Option(
            "--log/--no-log",
            envvar="OSSCTL_LOG",
            help="Keep prompt and answer; `ossctl log` shows them.  [default: only with -c and --resume]",
        ),
    ] = None,
    go_on: Annotated[
        bool, typer.Option("-c", "--continue", help="Continue the latest run in the log, with its settings.")
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="ID",
            show_default=False,
            autocompletion=complete_session,
            help="Continue this run; `ossctl log` shows IDs.",
        ),
    ] = None,
) -> LogOptions:
    """Whether prompt and answer are kept, and what is continued."""
    if resume is not None and go_on:
        raise UsageError("--continue and --resume exclude each other", "Use one of them.")
    earlier = _earlier(context, resume) if go_on or resume is not None else None
    return LogOptions(log, is_given(context, "log"), earlier)


def is_given(context: typer.Context, option: str) -> bool:
    """Whether the command line sets an option."""
    source: Any = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def kept_model(reference: str | None, path: Path, loading: "LoadOptions") -> "SessionModel":
    """The model of a run as it is logged: a path has to lead to it from any folder."""
    from ossctl.app.library.resolve import is_path
    from ossctl.app.sessions.stored import SessionModel

    file = str(path.absolute())
    kept = file if reference is None or is_path(reference) else reference
    template = str(loading.template.path.absolute()) if loading.template else ""
    return SessionModel(kept, path=file, template=template)


def _earlier(context: typer.Context, reference: str | None) -> "Earlier":
    from ossctl.app.run.log import Earlier, find_run
    from ossctl.settings import Paths

    given = [_FIELDS.get(name, name) for name in context.params if is_given(context, name)]
    return Earlier(find_run(Paths.from_environment().sessions, reference), given)


LogGroup = Annotated[LogOptions, log_options]
