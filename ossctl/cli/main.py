"""The program: its commands, and the one place that turns errors into messages and exit codes."""

import gc
import logging
import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ossctl import __version__
from ossctl.cli.alias import alias
from ossctl.cli.bad_value import bad_value
from ossctl.cli.batch import batch, batch_status, site
from ossctl.cli.batch_join import batch_join
from ossctl.cli.bench import bench
from ossctl.cli.cache import cache
from ossctl.cli.chat import chat
from ossctl.cli.compare import compare
from ossctl.cli.config import config
from ossctl.cli.doctor import doctor
from ossctl.cli.eval import ARGUMENTS, evaluate
from ossctl.cli.eval_ppl import ppl
from ossctl.cli.log import Lists, log
from ossctl.cli.models import ls, rm, show, verify
from ossctl.cli.options import source_of
from ossctl.cli.output import Output
from ossctl.cli.plan import plan
from ossctl.cli.pull import pull
from ossctl.cli.run import run
from ossctl.cli.sessions import sessions
from ossctl.cli.streams import guard_streams
from ossctl.cli.worker import worker
from ossctl.errors import ExitCode, OssctlError, UsageError

_UNCONFIGURED = ("config", "alias", "site")  # they work with files that are broken


class Commands(TyperGroup):
    """A group whose commands may have names of two words: `batch IN` and `batch status OUT`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        two_words = " ".join(args[:2])
        return super().parse_args(ctx, [two_words, *args[2:]] if two_words in self.commands else args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command, and apply the config files and the presets to it."""
        name, found, rest = super().resolve_command(ctx, args)
        if isinstance(found, Lists) and not ctx.resilient_parsing:
            rest = found.named(rest, ctx.help_option_names)
        rest = self._configured(ctx, name, found, rest)
        ctx.meta[ARGUMENTS] = [*rest]
        return name, found, rest

    def _configured(self, ctx: Any, name: str | None, found: Any, rest: list[str]) -> list[str]:
        if ctx.resilient_parsing or found is None or name in _UNCONFIGURED or _wants_help(rest):
            return rest
        if ctx.default_map is not None:  # of an evaluation that continues
            return rest
        from ossctl.config.paths import has_config

        if not has_config() and not any(map(_may_name_preset, rest)):
            return rest
        from ossctl.cli.configured import apply_config

        return apply_config(self, ctx, (str(name), found), rest)

    def invoke(self, ctx: Any) -> Any:
        """Name where an invalid value is from: the option, its environment variable, or a config file."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = bad_value(error)
            option, context = error.param, error.ctx
            if option is not None and context is not None and error.param_hint is None:
                from ossctl.cli.configured import applied_to

                name = option.name or ""
                source = source_of(context, name)
                if setting := applied_to(context).setting(name, source):
                    raise UsageError(f"{setting}: {error.message}") from None
                if source == "COMMANDLINE" and option.param_type_name == "option":
                    error.param_hint = [*option.opts]
            raise
        except UsageError as error:
            from ossctl.cli.configured import applied_to

            raise applied_to(ctx).explained(error) from None


app = typer.Typer(
    name="ossctl",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # importing rich would double the time of --help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command()(chat)
app.command()(run)
app.command()(batch)
app.command("batch status")(batch_status)
app.command("batch join")(batch_join)
app.command(hidden=True)(site)
app.command("eval")(evaluate)
app.command("eval ppl")(ppl)
app.command()(compare)
app.command()(plan)
app.command()(bench)
app.command()(doctor)
app.command()(worker)
app.command()(pull)
app.command()(alias)
app.command()(ls)
app.command()(show)
app.command()(verify)
app.command()(rm)
app.add_typer(log, name="log")
app.add_typer(sessions, name="sessions")
app.add_typer(cache, name="cache")
app.add_typer(config, name="config")


def _wants_help(args: list[str]) -> bool:
    own = args[: args.index("--")] if "--" in args else args
    return not {"-h", "--help"}.isdisjoint(own)


def _may_name_preset(arg: str) -> bool:
    """Whether an argument may be `--preset` or `-P`, perhaps after other letters: `-qP`."""
    letters = arg[1:] if arg.startswith("-") and not arg.startswith("--") else ""
    return "P" in letters or arg.startswith("--preset")


def _show_version(*, wanted: bool) -> None:
    if wanted:
        Output().text(f"ossctl {__version__}")
        raise typer.Exit


@app.callback()
def ossctl(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Run OpenAI's gpt-oss models, and others in GGUF format, on your own hardware."""


def main() -> None:
    """Run the command line and exit with a code from `ExitCode`."""
    gc.freeze()  # imports are never freed; a full collection would take 25 ms to check them
    guard_streams()
    try:
        app()
    except OssctlError as error:
        if error.message:
            Output().error(error.message, error.hint)
        if error.ends_at_once:
            os._exit(error.exit_code)
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 (the boundary: anything else is a bug)
        sys.exit(_report_bug(error))


def _report_bug(error: Exception) -> ExitCode:
    from ossctl.settings import save_crash_report

    trace = "".join(traceback.format_exception(error))
    path = save_crash_report(f"ossctl {__version__}\n{trace}")
    shows_trace = path is None or logging.getLogger().isEnabledFor(logging.DEBUG)
    hint = trace if shows_trace else f"This is a bug; please report it with the traceback in {path}."
    Output().error(f"unexpected error: {type(error).__name__}: {error}", hint)
    return ExitCode.FAILED
