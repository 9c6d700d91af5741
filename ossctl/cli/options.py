"""Options that several commands share, alone and in groups.

A group is a function that turns its options into one value; `ossctl.cli.command` inserts it into a command.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ossctl.cli.completion import complete_model, complete_preset
from ossctl.cli.output import Output
from ossctl.errors import UsageError

if TYPE_CHECKING:
    from ossctl.app.inference.options import GenerationOptions

ModelOption = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="MODEL",
        envvar="OSSCTL_MODEL",
        autocompletion=complete_model,
        help="20b, 120b, another name from `ossctl ls -a`, nano (a toy model in the package), hf:ORG/REPO… "
        "or the path of a .gguf file.  [default: the largest gpt-oss on this machine that fits]",
    ),
]
SystemOption = Annotated[
    str,
    typer.Option(
        "-s",
        "--system",
        metavar="TEXT|@FILE",
        show_default=False,
        help="System prompt for the whole conversation.",
    ),
]
PresetOption = Annotated[
    list[str] | None,
    typer.Option(
        "-P",
        "--preset",
        metavar="NAME",
        show_default=False,
        autocompletion=complete_preset,
        help="Preset of a config file, with options for this command; can be repeated.",
    ),
]
VariablesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--var",
        metavar="NAME=VALUE",
        show_default=False,
        help="Variable of the --prompt template; can be repeated. VALUE is JSON, or text if it is not valid "
        "JSON.",
    ),
]
YesOption = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask for confirmation.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
QuietOption = Annotated[bool, typer.Option("-q", "--quiet", help="Print only results, warnings and errors.")]
VerboseOption = Annotated[
    int,
    typer.Option(
        "-v",
        "--verbose",
        count=True,
        show_default=False,
        help="Log to stderr; -vv adds llama.cpp's log and tracebacks.",
    ),
]


def seed_option(text: str) -> Any:
    """`--seed`, with what it means to a command as its help."""
    return typer.Option("--seed", envvar="OSSCTL_SEED", metavar="N", min=-1, help=text)


# What a context keeps: the parameters that the command line itself sets, if a config was applied.
TYPED = "ossctl.typed"


def source_of(context: Any, option: str | None) -> str:
    """Where the value of an option is from, in Typer's words; "" if it has no such option."""
    source = context.get_parameter_source(option or "")
    return str(source.name) if source is not None else ""


def is_standing(context: typer.Context, option: str) -> bool:
    """Whether the environment or a config file sets an option, rather than the command line."""
    return source_of(context, option) in ("ENVIRONMENT", "DEFAULT_MAP")


def is_configured(context: typer.Context, option: str) -> bool:
    """Whether a config file sets an option, and nothing with precedence does."""
    return source_of(context, option) == "DEFAULT_MAP"


def is_given(context: typer.Context, option: str) -> bool:
    """Whether the command line, or a preset on it, sets an option."""
    return source_of(context, option) == "COMMANDLINE"


def is_typed(context: typer.Context, option: str) -> bool:
    """Whether the command line itself sets an option, rather than a preset or a table of a config file."""
    typed = context.meta.get(TYPED)
    return is_given(context, option) and (typed is None or option in typed)


def variables_of(
    context: typer.Context, variables: Sequence[str] | None, prompt: str | None
) -> Sequence[str]:
    """The variables of the `--prompt` template. Raises UsageError for `--var` without one."""
    if prompt is None and is_typed(context, "variables"):
        raise UsageError("--var needs --prompt", "It sets a variable of that template.")
    return variables or ()


def generation_options(
    *,
    context: typer.Context,
    effort: Annotated[
        Literal["low", "medium", "high"] | None,
        typer.Option(
            "-e",
            "--effort",
            envvar="OSSCTL_EFFORT",
            case_sensitive=False,
            help="Reasoning effort of gpt-oss and other models that have one.  [default: the model's]",
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--max-tokens",
            envvar="OSSCTL_MAX_TOKENS",
            metavar="N",
            min=1,
            help="Maximum tokens to generate, reasoning included.  [default: up to the context limit]",
        ),
    ] = None,
    max_reasoning_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-reasoning-tokens",
            envvar="OSSCTL_MAX_REASONING_TOKENS",
            metavar="N",
            min=0,
            help="Limit the reasoning to N tokens.",
        ),
    ] = None,
    think: Annotated[
        Literal["on", "off", "auto"],
        typer.Option(
            "--think",
            envvar="OSSCTL_THINK",
            case_sensitive=False,
            help="Switch the reasoning of a model whose chat template has a switch.",
        ),
    ] = "auto",
    temperature: Annotated[
        float,
        typer.Option(
            "-t",
            "--temperature",
            envvar="OSSCTL_TEMPERATURE",
            metavar="T",
            help="Sampling temperature; 0 is greedy decoding.",
        ),
    ] = 1.0,
    top_p: Annotated[
        float,
        typer.Option(
            "--top-p",
            envvar="OSSCTL_TOP_P",
            metavar="P",
            help="Nucleus sampling: sample from the smallest set of tokens with total probability P.",
        ),
    ] = 1.0,
    top_k: Annotated[
        int,
        typer.Option(
            "--top-k",
            envvar="OSSCTL_TOP_K",
            metavar="K",
            help="Sample from the K most likely tokens; 0 disables the limit.",
        ),
    ] = 0,
    min_p: Annotated[
        float,
        typer.Option(
            "--min-p",
            envvar="OSSCTL_MIN_P",
            metavar="P",
            help="Drop tokens less likely than P times the most likely one.",
        ),
    ] = 0.0,
    frequency_penalty: Annotated[
        float,
        typer.Option(
            "--frequency-penalty",
            envvar="OSSCTL_FREQUENCY_PENALTY",
            metavar="P",
            help="Lower the logit of a token by P for each time the answer has it.",
        ),
    ] = 0.0,
    presence_penalty: Annotated[
        float,
        typer.Option(
            "--presence-penalty",
            envvar="OSSCTL_PRESENCE_PENALTY",
            metavar="P",
            help="Lower the logits of tokens that the answer has by P.",
        ),
    ] = 0.0,
    repetition_penalty: Annotated[
        float,
        typer.Option(
            "--repetition-penalty",
            envvar="OSSCTL_REPETITION_PENALTY",
            metavar="P",
            help="Divide the logits of tokens that the prompt or the answer has by P; 1 is no penalty.",
        ),
    ] = 1.0,
    seed: Annotated[
        int | None, seed_option("Random seed, for reproducible answers.  [default: random]")
    ] = None,
    stops: Annotated[
        list[str] | None,
        typer.Option(
            "--stop",
            metavar="TEXT",
            show_default=False,
            help="Stop generating before TEXT; can be repeated.",
        ),
    ] = None,
    presets: PresetOption = None,  # noqa: ARG001 (applied in configured.py, before the options are read)
    date: Annotated[
        datetime | None,
        typer.Option(
            "--date",
            metavar="YYYY-MM-DD",
            formats=["%Y-%m-%d"],
            help="Current date to give the model.  [default: today]",
        ),
    ] = None,
) -> "GenerationOptions":
    """How answers are generated."""
    from ossctl.app.inference.options import GenerationOptions
    from ossctl.app.user_text import encodable

    return GenerationOptions(
        effort=effort,
        max_tokens=max_tokens,
        max_reasoning_tokens=max_reasoning_tokens,
        think=None if think == "auto" else think,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        frequency_penalty=frequency_penalty,
        presence_penalty=presence_penalty,
        repetition_penalty=repetition_penalty,
        seed=seed,
        stops=tuple(map(encodable, stops or ())),
        date=date.date() if date else None,
        from_environment=frozenset(
            name for name in ("effort", "max_reasoning_tokens", "think") if is_standing(context, name)
        ),
    )


def chat_output(*, verbose: VerboseOption = 0) -> Output:
    """The output of a chat, which has a screen of its own."""
    return _output(Output(), verbose)


def text_output(*, quiet: QuietOption = False, verbose: VerboseOption = 0) -> Output:
    """The output of a command that prints text."""
    return _output(Output(quiet=quiet), verbose)


def json_output(
    *, as_json: JsonOption = False, quiet: QuietOption = False, verbose: VerboseOption = 0
) -> Output:
    """The output of a command that prints text or one JSON document."""
    return _output(Output(as_json, quiet), verbose)


def _output(out: Output, verbose: int) -> Output:
    out.show_log(verbose)
    return out


GenerationGroup = Annotated["GenerationOptions", generation_options]
ChatOutput = Annotated[Output, chat_output]
TextOutput = Annotated[Output, text_output]
JsonOutput = Annotated[Output, json_output]
