"""`ossctl eval`."""

import os
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ossctl.cli.command import command, redeclared, without
from ossctl.cli.completion import complete_models, complete_task
from ossctl.cli.contestants import ContestantGroup, given_model
from ossctl.cli.eval_view import EvalProgress, evaluation_text, task_lines
from ossctl.cli.loading_options import CacheGroup, LoadingGroup
from ossctl.cli.options import (
    SystemOption,
    TextOutput,
    generation_options,
    is_given,
    is_standing,
    seed_option,
    source_of,
)
from ossctl.cli.output import Output
from ossctl.cli.template_options import TemplateGroup
from ossctl.cli.tool_options import tool_options
from ossctl.errors import UsageError

if TYPE_CHECKING:
    from ossctl.app.eval.folder import EvalFolder
    from ossctl.app.eval.job import EvalJob
    from ossctl.app.inference.options import GenerationOptions
    from ossctl.app.tools.options import ToolOptions

# What `Commands` keeps in a context: the arguments of the command, with those of presets.
ARGUMENTS = "ossctl.arguments"
# What another run may change: how it is shown, and where the model is placed.
_CHANGEABLE = {
    "resume", "retry_failed", "as_json", "as_csv", "as_markdown", "as_html", "quiet", "verbose", "ctx",
    "parallel", "gpu_layers", "cpu_moe", "kv", "ubatch", "threads", "device", "draft", "no_cache",
    "cache_size",
}  # fmt: skip
_SHOWING = ("--json", "--csv", "--markdown", "--html", "-q", "--quiet", "-v", "--verbose", "-vv")
_SAMPLING = (
    "temperature", "top_p", "top_k", "max_tokens", "frequency_penalty", "presence_penalty",
)  # fmt: skip

_Seed = Annotated[
    int | None,
    seed_option("Base seed of answers and of --sample; each question and repeat has its own.  [default: 0]"),
]
_Generation = Annotated[
    "GenerationOptions", without(redeclared(generation_options, seed=_Seed), "effort", "think")
]
_Tools = Annotated[
    "ToolOptions",
    without(tool_options, "tools", "commands", "unasked", "shared_files", "browser", "mcp", "mcp_tools"),
]


def _form_options(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as one JSON document.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a line of CSV for each result.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
    as_html: Annotated[bool, typer.Option("--html", help="Print the page.")] = False,
) -> str:
    """The form of the results on stdout; "" is for a terminal. Raises UsageError."""
    wanted = {"json": as_json, "csv": as_csv, "markdown": as_markdown, "html": as_html}
    given = [form for form, is_wanted in wanted.items() if is_wanted]
    if len(given) > 1:
        raise UsageError(f"--{given[0]} and --{given[1]} cannot be combined")
    return "".join(given)


@command
def evaluate(
    *,
    context: typer.Context,
    tasks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TASK",
            show_default=False,
            autocompletion=complete_task,
            help="aime25, mmlu-pro, gpqa … (see --list), a .jsonl file of questions, or a task of Inspect: "
            "inspect_evals/NAME or FILE.py@NAME.",
        ),
    ] = None,
    contestants: ContestantGroup,
    listing: Annotated[bool, typer.Option("--list", help="List the tasks known by name, and exit.")] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            show_default=False,
            help="Folder for results, reports and logs.  [default: eval-DATE-TIME]",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="DIR",
            show_default=False,
            help="Continue the evaluation in DIR; finished questions are not asked again.",
        ),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="With --resume, also ask the failed questions of complete tasks again."
        ),
    ] = False,
    repeats: Annotated[
        int | None,
        typer.Option(
            "--repeats",
            metavar="N",
            min=1,
            help="Ask each question N times.  [default: as many as the task's published scores]",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="Ask the first N questions of each task."),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample", metavar="N", min=1, help="Ask N random questions; --seed fixes which, for all models."
        ),
    ] = None,
    arguments: Annotated[
        list[str] | None,
        typer.Option(
            "-T",
            "--task-arg",
            metavar="NAME=VALUE",
            show_default=False,
            help="Argument of the task; can be repeated.",
        ),
    ] = None,
    grader: Annotated[
        Literal["choice", "number", "exact", "regex", "schema", "program", "model"] | None,
        typer.Option("--grader", show_default=False, help="Grader for questions that name none."),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge",
            metavar="MODEL",
            show_default=False,
            autocompletion=complete_models,
            help="Model for tasks and questions that are graded by a model.",
        ),
    ] = None,
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic",
            help="Batch-invariant decoding, on a CPU: answers do not depend on other requests. No "
            "shared prefixes.",
        ),
    ] = False,
    form: Annotated[str, _form_options],
    system: SystemOption = "",
    generation: _Generation,
    template: TemplateGroup,
    tools: _Tools,
    loading: LoadingGroup,
    cache: CacheGroup,
    out: TextOutput,
) -> None:
    """Measure how well models answer: benchmarks by name, tasks of Inspect AI, or your own questions.

    Every model answers all tasks with every effort, many questions at a time; one model is loaded after the
    other. Results are printed with confidence intervals and published scores, and kept in a folder with an
    HTML report and Inspect's logs. Failed answers do not stop the others; the exit code is then 3.
    `ossctl eval ppl` measures perplexities.
    """
    out.open_stdout()
    if listing:
        out.lines(task_lines())
        return
    require_inspect()
    if resume is not None:
        _resume(context, resume)
        return
    from ossctl.app.eval.job import EvalOptions

    if retry_failed and context.obj is None:
        raise UsageError("--retry-failed needs --resume")
    if not tasks:
        raise UsageError("there is no task to evaluate", "ossctl eval --list shows those known by name.")
    options = EvalOptions(
        tasks,
        arguments or (),
        contestants.efforts,
        contestants.thinks,
        repeats,
        limit,
        sample,
        grader,
        deterministic,
        retry_failed,
        frozenset(each for each in _SAMPLING if is_given(context, each) or is_standing(context, each)),
    )
    options.check()
    loading = replace(loading, cache_bytes=cache, template=template.template())
    generation = replace(
        generation,
        system=system,
        template_variables=template.values(),
        from_environment=generation.from_environment | contestants.from_environment,
    )
    found = contestants.models(loading, out)
    referee = None if judge is None else given_model(judge, loading, out)
    job = options.job(found, referee, generation, tools, loading)
    for note in job.tools.notes():
        out.note(note)
    kept = context.obj or _new_folder(folder, context)
    raise typer.Exit(_run(job, kept, form, out))


def require_inspect() -> None:
    """Raise UsageError if the extra is not installed."""
    if find_spec("inspect_ai") is None or find_spec("inspect_evals") is None:
        raise UsageError("ossctl eval needs Inspect AI", 'Install it: pip install "ossctl[eval]"')


def _run(job: "EvalJob", folder: "EvalFolder", form: str, out: Output) -> int:
    from ossctl.app.eval.run import run_eval

    with EvalProgress(out) as progress:
        outcome = run_eval(job, folder, progress)
    out.write(evaluation_text(outcome.evaluation, form, out))
    if outcome.interrupted:
        out.error("interrupted", f"Continue with: ossctl eval --resume {folder.path}")
    return int(outcome.exit_code)


def _new_folder(path: Path | None, context: typer.Context) -> "EvalFolder":
    from ossctl.app.eval.folder import EvalFolder, JobRecord

    now = datetime.now().astimezone()
    variables = [
        str(each.envvar) for each in context.command.params if source_of(context, each.name) == "ENVIRONMENT"
    ]
    words = [word for word in context.meta[ARGUMENTS] if word not in _SHOWING]
    record = JobRecord(
        date=f"{now:%Y-%m-%d}",
        arguments=words,
        cwd=_current_folder(),
        environment={name: os.environ[name] for name in variables},
        configured=dict(context.default_map or {}),
    )
    return EvalFolder.create(path or Path(f"eval-{now:%Y%m%d-%H%M%S}"), record)


def _current_folder() -> str:
    """Its path; "" if it was deleted or cannot be written as JSON."""
    with suppress(OSError, UnicodeEncodeError):
        return str(Path.cwd()).encode().decode()
    return ""


def _resume(context: typer.Context, path: Path) -> None:
    """Run the command again, with the options of the folder, and how to show and load given now."""
    from ossctl.app.eval.folder import EvalFolder

    given = [each for each in context.command.params if is_given(context, each.name or "")]
    for option in given:
        if option.name not in _CHANGEABLE:
            raise UsageError(
                f"--resume continues with the options of {path}: {_name(option)} can't be changed",
                "Leave it out, or start a new evaluation.",
            )
    folder = EvalFolder.open(path)
    if folder.record.cwd not in ("", _current_folder()):
        folder.path = path.absolute()
        with suppress(OSError):  # it is gone, or on another machine: then the current one stands for it
            os.chdir(folder.record.cwd)
    for each in context.command.params:
        os.environ.pop(str(each.envvar), None)
    os.environ.update(folder.record.environment)
    now = [*context.meta[ARGUMENTS]]
    places = [n for n, word in enumerate(now) if word == "--resume"]
    for n in reversed(places):
        del now[n : n + 2]
    words = [word for word in now if not word.startswith("--resume=")]
    root = context.find_root().command
    arguments = ["eval", *folder.record.arguments, *words]
    defaults = {"eval": folder.record.configured}
    code = root.main(arguments, standalone_mode=False, obj=folder, default_map=defaults)
    raise typer.Exit(code or 0)


def _name(option: Any) -> str:
    return str(max(option.opts, key=len)) if option.opts[0].startswith("-") else "TASK"
