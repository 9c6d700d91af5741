"""Where the value of an option comes from: flag, preset, environment, project, user, model, plan."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from ossctl.cli.command import command
from ossctl.cli.configured import simulated
from ossctl.cli.format_options import FormatGroup
from ossctl.cli.loading_options import CacheGroup, LoadingGroup
from ossctl.cli.main import Commands, app
from ossctl.cli.options import GenerationGroup, ModelOption, SystemOption, VariablesOption
from ossctl.cli.template_options import TemplateGroup
from ossctl.cli.tool_options import ToolGroup
from ossctl.config.config import load_config
from ossctl.errors import UsageError

program = typer.Typer(cls=Commands, rich_markup_mode=None, pretty_exceptions_enable=False)
group = typer.Typer(rich_markup_mode=None)


@program.command()
@command
def run(
    *,
    model: ModelOption = None,
    prompt: Annotated[str | None, typer.Option("--prompt", metavar="TEMPLATE|@FILE")] = None,
    variables: VariablesOption = None,
    system: SystemOption = "",
    raw: Annotated[bool, typer.Option("--raw")] = False,
    n: Annotated[int, typer.Option("--n")] = 1,
    formats: FormatGroup,
    tools: ToolGroup,
    generation: GenerationGroup,
    template: TemplateGroup,
    loading: LoadingGroup,
    cache: CacheGroup,
) -> None:
    """Print the options."""
    values = {**asdict(generation), **asdict(loading), **formats, "template": template.variables}
    mine: dict[str, Any] = {
        "model": model,
        "system": system,
        "raw": raw,
        "n": n,
        "prompt": prompt,
        "var": variables,
    }
    mine |= {"yes": tools.unasked, "python": tools.python, "tool_cmd": tools.commands, "cache": cache}
    values["from_environment"] = sorted(generation.from_environment)
    typer.echo(json.dumps({**values, **mine}, default=str))


program.command("batch")(run)


@program.command()
@command
def plan(*, model: Annotated[str, typer.Argument()], loading: LoadingGroup) -> None:
    """Print the loading options."""
    typer.echo(json.dumps({**asdict(loading), "model": model}))


@group.command("list")
def list_(limit: Annotated[int, typer.Option("--limit")] = 1) -> None:
    """Print the limit."""
    typer.echo(json.dumps({"limit": limit}))


program.add_typer(group, name="sessions")

Options = Callable[..., dict[str, Any]]


class Files:
    """The user's file and the project's."""

    def __init__(self, user: Path, project: Path) -> None:
        self.user, self.project = user, project
        self.said = ""

    def write(self, user: str = "", project: str = "") -> None:
        self.user.write_text(user)
        self.project.write_text(project)

    def options(self, *arguments: str) -> dict[str, Any]:
        result = CliRunner().invoke(program, arguments, catch_exceptions=False)
        self.said = result.stderr
        assert result.exit_code == 0, result.stderr
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def error(self, *arguments: str) -> UsageError:
        with pytest.raises(UsageError) as caught:
            CliRunner().invoke(program, arguments, catch_exceptions=False)
        return caught.value


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    for name in ("OSSCTL_CONFIG", "OSSCTL_MODEL", "OSSCTL_TEMPERATURE", "OSSCTL_EFFORT", "OSSCTL_CTX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "config").mkdir(parents=True)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return Files(tmp_path / "home" / "config" / "config.toml", tmp_path / "project" / "ossctl.toml")


# Each level with its temperature, from the least to the most important.
LEVELS = [
    ("user", "[defaults]\ntemperature = 0.1\n"),
    ("user", "[run]\ntemperature = 0.2\n"),
    ("user", '[model.fast]\nmodel = "20b"\ntemperature = 0.4\n[model.20b]\ntemperature = 0.3\n'),
    ("project", "[defaults]\ntemperature = 0.5\n"),
    ("project", "[run]\ntemperature = 0.6\n"),
    ("project", "[model.fast]\ntemperature = 0.7\n"),
    ("environment", "0.8"),
    ("preset", "[preset.p]\ntemperature = 0.9\n"),
    ("flag", "1.1"),
]
USERS = {"user", "preset"}  # both are in the user's file
WINNERS = [0.1, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.1]


@pytest.mark.parametrize("level", range(len(LEVELS)))
def test_each_level_takes_precedence_over_those_below(
    files: Files, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = LEVELS[: level + 1]
    texts = {
        name: "".join(text for kind, text in reached if kind == name)
        for name in ("user", "project", "preset")
    }
    files.write(texts["user"] + texts["preset"], texts["project"])
    arguments = ["run", "-m", "fast"]
    for kind, text in reached:
        if kind == "environment":
            monkeypatch.setenv("OSSCTL_TEMPERATURE", text)
        if kind == "preset":
            arguments += ["-P", "p"]
        if kind == "flag":
            arguments += ["-t", text]
    assert files.options(*arguments)["temperature"] == WINNERS[level]


def test_what_nothing_sets_is_left_to_the_plan(files: Files) -> None:
    files.write("[run]\nkv = 'q8_0'\n")
    options = files.options("run")
    assert (options["ctx"], options["kv"], options["ubatch"]) == (None, "q8_0", None)
    files.write("[defaults]\nctx = 8192\n[model.20b]\nctx = 'max'\n")
    assert files.options("run")["ctx"] == "8192"
    assert files.options("run", "-m", "20b")["ctx"] == "max"
    assert files.options("run", "-m", "20b", "--ctx", "512")["ctx"] == "512"


@pytest.mark.parametrize(
    ("user", "arguments", "variable"),
    [
        ('[defaults]\nmodel = "fast"\n', (), ""),
        ('[run]\nmodel = "fast"\n', (), ""),
        ('[preset.p]\nmodel = "fast"\n', ("-P", "p"), ""),
        ('[preset.p]\nmodel = "other"\n', ("-P", "p", "-m", "fast"), ""),
        ('[run]\nmodel = "other"\n', (), "fast"),
        ("", ("-m", "fast"), "other"),
    ],
)
def test_a_models_section_counts_however_the_model_is_chosen(
    files: Files, user: str, arguments: tuple[str, ...], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write(f'{user}[model.fast]\nmodel = "20b"\nctx = 1024\n[model.20b]\nctx = 2048\neffort = "low"\n')
    if variable:
        monkeypatch.setenv("OSSCTL_MODEL", variable)
    options = files.options("run", *arguments)
    assert (options["model"], options["ctx"], options["effort"]) == ("fast", "1024", "low")


def test_a_models_section_counts_for_a_command_with_a_model_as_its_argument(files: Files) -> None:
    files.write('[model.fast]\nmodel = "20b"\nctx = 1024\n')
    assert files.options("plan", "fast")["ctx"] == "1024"
    assert files.options("plan", "20b")["ctx"] is None


def test_presets_combine_from_left_to_right(files: Files) -> None:
    files.write(
        """
        [preset.a]
        temperature = 0.1
        seed = 1
        template-var = {x = 1, y = 2}
        [preset.b]
        seed = 2
        template-var = {y = 3}
        [preset.c]
        preset = ["a"]
        top-p = 0.5
        """
    )
    options = files.options("run", "-P", "a", "--preset=b")
    assert (options["temperature"], options["seed"], options["template"]) == (0.1, 2, ["x=1", "y=3"])
    assert files.options("run", "-P", "b", "-P", "a")["seed"] == 1
    options = files.options("run", "-P", "c", "--seed", "9")
    assert (options["temperature"], options["seed"], options["top_p"]) == (0.1, 9, 0.5)


def test_variables_are_combined_name_by_name(files: Files) -> None:
    files.write("[run]\nvar = {a = 1, b = 1}\n[preset.p]\nvar = {b = 2, c = 2}\n", "[run]\nvar = {d = 3}\n")
    assert files.options("run")["var"] == ["a=1", "b=1", "d=3"]
    assert files.options("run", "-P", "p")["var"] == ["a=1", "b=2", "d=3", "c=2"]
    assert files.options("run", "-P", "p", "--var", "c=9")["var"] == ["a=1", "b=2", "d=3", "c=9"]
    assert files.options("run", "--var", "a=9")["var"] == ["b=1", "d=3", "a=9"]


def test_a_format_replaces_another_one_with_less_precedence(files: Files) -> None:
    files.write("[run]\nregex = 'a'\n[preset.s]\nschema = '{}'\n[preset.c]\nchoice = ['x', 'y']\n")
    assert files.options("run")["regex"] == "a"
    options = files.options("run", "-P", "s")
    assert (options["schema"], options["regex"]) == ("{}", "")
    options = files.options("run", "-P", "s", "-P", "c")
    assert (options["schema"], options["choices"]) == ("", ["x", "y"])
    options = files.options("run", "-P", "s", "--regex", "b")
    assert (options["schema"], options["regex"]) == ("", "b")


def test_options_that_a_flag_excludes_are_left_out(files: Files) -> None:
    files.write("[run]\nsystem = 'x'\neffort = 'low'\npython = true\nregex = 'a'\nno-cache = true\n")
    options = files.options("run", "--raw")
    assert (options["system"], options["effort"], options["python"], options["regex"]) == (
        "",
        None,
        False,
        "",
    )
    assert files.options("run", "--n", "2")["python"] is False
    assert files.options("run", "--cache-size", "1GB")["cache"] == 10**9
    assert files.options("run")["cache"] == 0


# A file, what the command line or a preset sets against it, and the option that has to go.
AGAINST = [
    ("eval", "limit = 5", "--sample=2", "limit"),
    ("eval", "sample = 5", "--limit=2", "sample"),
    ("run", "n = 3", "--python", "count"),
    ("run", "n = 3", "--tool-cmd=f=true", "count"),
    ("batch", "rpc = 'a:1'", "--hosts=b", "rpc"),
    ("batch", "rpc = 'a:1'", "--cluster=auto", "rpc"),
    ("batch", "python-files = '.'", "--no-cache", "python_files"),
]


@pytest.mark.parametrize(("name", "line", "argument", "parameter"), AGAINST)
def test_the_command_line_wins_over_what_cannot_be_combined_with_it(
    name: str, line: str, argument: str, parameter: str, files: Files
) -> None:
    files.write(f"[{name}]\n{line}\n")
    context, _ = simulated(typer.main.get_command(app), load_config(), [name], [argument])
    assert context.params[parameter] in (None, 1)


def test_a_part_of_the_first_requests_of_a_batch_is_sampled(files: Files) -> None:
    files.write("[batch]\nlimit = 5\n")
    context, _ = simulated(typer.main.get_command(app), load_config(), ["batch"], ["--sample=2"])
    assert (context.params["limit"], context.params["sample"]) == (5, 2)


def test_a_setting_without_effect_is_harmless_and_an_option_is_not(files: Files) -> None:
    files.write("[run]\ntool-rounds = 3\nmcp-tools = ['a']\n[preset.p]\ntool-rounds = 4\nmcp-tools = ['b']\n")
    for arguments in ((), ("-P", "p")):
        assert files.options("run", *arguments)["python"] is False
    assert "--tool-rounds" in files.error("run", "--tool-rounds", "3").message
    assert files.error("run", "--mcp-tools", "a").message == "--mcp-tools needs --mcp"
    assert files.options("run", "--tool-rounds", "3", "--python")["python"] is True


def test_values_have_the_types_of_the_options(files: Files) -> None:
    files.write(
        """
        [run]
        python = true
        date = 2025-01-02
        stop = "END"
        var = {language = "French", words = 3, list = [1, "a"]}
        tool-cmd = {clock = "date"}
        [preset.off]
        python = false
        """
    )
    options = files.options("run")
    assert (options["python"], options["date"], options["stops"]) == (True, "2025-01-02", ["END"])
    assert options["var"] == ["language=French", "words=3", 'list=[1, "a"]']
    assert options["tool_cmd"] == ["clock=date"]
    assert files.options("run", "-P", "off")["python"] is False


def test_a_setting_holds_only_for_models_that_support_it(files: Files) -> None:
    files.write("[defaults]\neffort = 'low'\n[preset.p]\neffort = 'low'\n")
    assert files.options("run")["from_environment"] == ["effort"]
    assert files.options("run", "-P", "p")["from_environment"] == []


def test_paths_are_relative_to_the_users_file_and_to_the_project(files: Files) -> None:
    files.write(
        "[run]\nsystem = '@a.txt'\nschema = 's.json'\nprompt = '@~/p'\n", "[preset.p]\nsystem = '@b.txt'\n"
    )
    options = files.options("run")
    folder = files.user.parent
    assert (options["system"], options["schema"]) == (f"@{folder / 'a.txt'}", str(folder / "s.json"))
    assert options["prompt"] == f"@{Path.home() / 'p'}"
    assert files.options("run", "-P", "p")["system"] == "@b.txt"
    files.write("", "[run]\nsystem = '@../b.txt'\n")
    assert "is not in the folder of ossctl.toml" in files.error("run").message


def test_a_commands_group_is_a_section_too(files: Files) -> None:
    files.write("[sessions.list]\nlimit = 7\n")
    assert files.options("sessions", "list") == {"limit": 7}
    assert files.options("sessions", "list", "--limit", "8") == {"limit": 8}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[run]\nseed = 1\ntemperature = 'hot'\n", "line 3: run.temperature: "),
        ("[defaults]\nctx = 'much'\n", "line 2: defaults.ctx: 'much' is neither a number of tokens nor"),
        ("[run]\neffort = 'huge'\n", "line 2: run.effort: "),
        ("[run]\nmax-tokens = 0\n", "line 2: run.max-tokens: "),
        ("[run]\npython = 'yes'\n", "line 2: run.python: 'yes' is neither true nor false"),
        ("[run]\nseed = [1]\n", "line 2: run.seed is a list, but expected a value such as N"),
        ("[run]\nseed = {a = 1}\n", "line 2: run.seed is a table, but expected a value such as N"),
        ("[run]\nstop = [['a']]\n", "line 2: run.stop: ['a'] is not a text or a number"),
        ("run = 1\n", "line 1: run is not a table"),
    ],
)
def test_a_wrong_value_is_reported_with_file_line_and_key(files: Files, text: str, said: str) -> None:
    files.write(text)
    assert f"{files.user}, {said}" in files.error("run").message


def test_a_wrong_value_of_a_preset_is_reported_with_its_line(files: Files) -> None:
    files.write("[preset.p]\ntemperature = 'hot'\n")
    said = "line 2: preset.p.temperature: "
    assert said in files.error("run", "-P", "p").message


def test_an_error_of_the_program_names_the_setting(files: Files) -> None:
    files.write("[run]\nstop = ['']\n")
    error = files.error("run")
    assert error.message == "--stop is an empty text"
    assert error.hint == f"It is from {files.user}, line 2: run.stop."


def test_unknown_keys_are_a_warning_with_the_nearest_one(files: Files) -> None:
    files.write("[run]\ntemprature = 1\nseeed = 1\nseed = 3\n")
    assert files.options("run")["seed"] == 3
    assert files.said == (
        f"{files.user}, line 2: unknown key run.temprature is ignored. Did you mean temperature or template? "
        "`ossctl config check` lists 1 more.\n"
    )


def test_a_model_without_a_table_is_ignored_with_what_to_write(files: Files) -> None:
    files.write("[model]\nfoo = 1\n")
    files.options("run")
    assert files.said == f"{files.user}, line 2: unknown key model.foo is ignored. Write [model.foo].\n"


def test_what_a_project_may_not_set_is_a_warning(files: Files) -> None:
    files.write("", "[run]\ntool-cmd = {a = 'b'}\nyes = true\nseed = 3\n")
    options = files.options("run")
    assert (options["seed"], options["tool_cmd"]) == (3, [])
    assert files.said == (
        "ossctl.toml, line 2: run.tool-cmd and 1 more are ignored, because this folder is not in `trusted` "
        f"in {files.user}.\n"
    )


def test_help_needs_no_config(files: Files) -> None:
    files.write("broken = [")
    result = CliRunner().invoke(program, ["run", "--help"], catch_exceptions=False)
    assert result.exit_code == 0
    assert files.error("run").hint == "It is not valid TOML. `ossctl config edit` opens it."


@pytest.mark.parametrize("section", ["defaults", "model.20b", "preset.p"])
def test_consent_is_not_given_for_several_commands_at_once(files: Files, section: str) -> None:
    files.write(f"[{section}]\nyes = true\nn = 3\n")
    options = files.options("run", "-m", "20b", *(["-P", "p"] if section == "preset.p" else []))
    assert options["yes"] is False
    assert f"unknown key {section}.yes is ignored" in files.said.replace('"', "")
