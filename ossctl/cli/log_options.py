"""The group of options for the log of `ossctl run`, and for continuing what is in it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ossctl.cli.completion import complete_session
from ossctl.cli.offer import model_file
from ossctl.cli.options import is_given
from ossctl.cli.output import Output
from ossctl.errors import ModelError, UsageError

if TYPE_CHECKING:
    from ossctl.app.placement.load_options import LoadOptions
    from ossctl.app.run.log import Earlier
    from ossctl.app.run.log_options import LogOptions
    from ossctl.app.sessions.session_log import SavedSession
    from ossctl.app.sessions.stored import SessionModel

_FIELDS = {"choices": "choice"}  # names of settings that differ from those of the options


def log_options(
    *,
    context: typer.Context,
    log: Annotated[
        bool | None,
        typer.Option(
            "--log/--no-log",
            envvar="OSSCTL_LOG",
            help="Log prompt and answer; `ossctl log` shows them.  [default: only with -c and --resume]",
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
) -> "LogOptions":
    """Whether prompt and answer are kept, and what is continued."""
    if resume is not None and go_on:
        raise UsageError("--continue and --resume cannot be combined", "Use one of them.")
    from ossctl.app.run.log_options import LogOptions

    earlier = _earlier(context, resume) if go_on or resume is not None else None
    return LogOptions(log, is_given(context, "log"), earlier)


def continued_file(
    saved: "SavedSession | None", model: str | None, loading: "LoadOptions", out: Output
) -> Path:
    """The file of the model, which is that of the run `saved` if there is one. Raises OssctlError."""
    try:
        return model_file(model, loading, out)
    except ModelError as error:
        if saved is None:
            raise
        hint = f"`ossctl run --resume {saved.id} -m MODEL` continues with another model."
        raise ModelError(f"the model of this run: {error.message}", f"{hint} {error.hint}".strip()) from None


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


LogGroup = Annotated["LogOptions", log_options]
