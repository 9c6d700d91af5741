"""`ossctl config` and `ossctl alias`."""

import json
import re
import stat
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main

from ossctl.cli.completion import complete_alias, complete_model, complete_preset
from ossctl.cli.main import app
from ossctl.errors import OssctlError
from ossctl.storage.compression import encoder_for

Files = tuple[Path, Path]
Run = Callable[..., str]
Fail = Callable[..., OssctlError]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """The user's file and the project's."""
    for name in ("OSSCTL_CONFIG", "OSSCTL_MODEL", "OSSCTL_TEMPERATURE", "OSSCTL_EFFORT", "VISUAL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "config").mkdir(parents=True)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "home" / "config" / "config.toml", tmp_path / "project" / "ossctl.toml"


@pytest.fixture(scope="module")
def program() -> Any:
    """The commands, which take a while to declare."""
    return typer.main.get_command(app)


@pytest.fixture
def ossctl(program: Any, files: Files, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command, and returns what it prints on stdout."""

    def run(*arguments: str, code: int = 0) -> str:
        assert (program.main([*arguments], "ossctl", standalone_mode=False) or 0) == code
        return capsys.readouterr().out

    return run


@pytest.fixture
def error(ossctl: Run) -> Fail:
    """Runs a command that fails."""

    def run(*arguments: str) -> OssctlError:
        with pytest.raises(OssctlError) as caught:
            ossctl(*arguments)
        return caught.value

    return run


def values(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def test_a_value_is_set_shown_and_removed(ossctl: Run, error: Fail, files: Files) -> None:
    ossctl("config", "set", "run.temperature", "0.5")
    ossctl("config", "set", "run.stop", '["a", "b"]')
    ossctl("config", "set", "run.system", "Be brief.")
    ossctl("config", "set", "effort", "low")
    ossctl("config", "set", "run.template-var.enable_thinking", "false")
    ossctl("config", "set", 'model."q.5".ctx', "8192")
    ossctl("config", "set", "mcp.x.command", "server")
    ossctl("config", "set", "mcp.x.env.NUMBER", "5")
    ossctl("config", "set", "trusted", '["~/x"]')
    assert values(files[0]) == {
        "run": {
            "temperature": 0.5,
            "stop": ["a", "b"],
            "system": "Be brief.",
            "template-var": {"enable_thinking": False},
        },
        "defaults": {"effort": "low"},
        "model": {"q.5": {"ctx": 8192}},
        "mcp": {"x": {"command": "server", "env": {"NUMBER": "5"}}},
        "trusted": ["~/x"],
    }
    assert ossctl("config", "get", "run.stop") == '["a", "b"]\n'
    assert ossctl("config", "get", "run.system") == "Be brief.\n"
    assert ossctl("config", "get", "effort") == "low\n"
    ossctl("config", "set", "model", "nano")
    ossctl("config", "unset", "model")
    assert "model" not in values(files[0])["defaults"]
    assert values(files[0])["model"] == {"q.5": {"ctx": 8192}}
    ossctl("config", "unset", "run.temperature")
    assert error("config", "get", "run.temperature").message == "run.temperature is not set"
    assert "is not set in" in error("config", "unset", "run.temperature").message
    ossctl("config", "unset", "run")
    assert "run" not in values(files[0])


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("run.temperature", "hot", "run.temperature: "),
        ("temperature", "9999", "defaults.temperature: --temperature is 9999.0, must be"),
        ("run.temprature", "1", "unknown key run.temprature"),
        ("run.python", "maybe", "run.python: 'maybe' is neither true nor false"),
        ("run.seed", "[1, 2]", "run.seed: "),
        ("run.kv", "q4", "run.kv: "),
        ("preset.p.output", "x", "unknown key preset.p.output"),
        ("defaults.yes", "true", "unknown key defaults.yes"),
        ("ran.seed", "1", "unknown key ran.seed"),
        ("x y", "1", "'x y' is not a key"),
    ],
)
def test_a_wrong_value_is_not_written(error: Fail, files: Files, key: str, value: str, said: str) -> None:
    assert said in error("config", "set", key, value).message
    assert not files[0].exists()


def test_the_projects_file_is_written_on_request(ossctl: Run, files: Files) -> None:
    ossctl("config", "set", "run.seed", "1", "--project")
    assert values(files[1]) == {"run": {"seed": 1}}
    ossctl("config", "set", "run.seed", "2")
    assert ossctl("config", "get", "run.seed") == "1\n"
    assert ossctl("config", "path") == f"{files[0]}\n"
    assert ossctl("config", "path", "--project") == "ossctl.toml\n"


def test_show_names_the_origin_of_every_value(
    ossctl: Run, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    files[0].write_text(
        "# mine\n[run]\nseed = 1\nx = 2\n[mcp.a]\nurl = 'https://u:pw@h/m?k=pw'\nenv = {T = 'pw'}\n"
    )
    files[1].write_text("[run]\nseed = 3\nyes = true\n")
    monkeypatch.setenv("OSSCTL_TEMPERATURE", "0.5")
    shown = {
        (each["key"], each["origin"]): (each["value"], each["note"])
        for each in json.loads(ossctl("config", "show", "--json"))["values"]
    }
    assert shown == {
        ("run.seed", f"{files[0]}, line 3"): (1, "overridden by ossctl.toml, line 2"),
        ("run.x", f"{files[0]}, line 4"): (2, "unknown"),
        ("mcp.a.url", f"{files[0]}, line 6"): ("https://***@h/m?***", None),
        ("mcp.a.env", f"{files[0]}, line 7"): ({"T": "***"}, None),
        ("run.seed", "ossctl.toml, line 2"): (3, None),
        ("run.yes", "ossctl.toml, line 3"): (True, "ignored: this folder is not trusted"),
        ("temperature", "OSSCTL_TEMPERATURE"): ("0.5", None),
    }
    text = ossctl("config", "show")
    assert "pw" not in text
    assert 'temperature  "0.5"' in text


def test_show_of_a_command_has_every_option_as_it_counts(
    ossctl: Run, error: Fail, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    files[0].write_text("[run]\nseed = 1\n[preset.p]\ntop-p = 0.5\n[model.nano]\nctx = 512\n")
    monkeypatch.setenv("OSSCTL_EFFORT", "low")
    shown = {
        each["key"]: (each["value"], each["origin"])
        for each in json.loads(ossctl("config", "show", "run", "-m", "nano", "-P", "p", "--json"))["values"]
    }
    assert shown["seed"] == (1, f"{files[0]}, line 2: run.seed")
    assert shown["top-p"] == (0.5, f"{files[0]}, line 4: preset.p.top-p")
    assert shown["ctx"] == (512, f"{files[0]}, line 6: model.nano.ctx")
    assert shown["effort"] == ("low", "OSSCTL_EFFORT")
    assert shown["model"] == ("nano", "the command line")
    assert shown["temperature"] == (1.0, "the default")
    assert "seed" not in ossctl("config", "show", "batch", "status")
    assert "no command ran" in error("config", "show", "ran").message


def test_the_config_that_the_documentation_shows_is_right(
    ossctl: Run, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    (tmp_path / "src").mkdir()
    page = (Path(__file__).parents[2] / "docs" / "config.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        files[0].write_text(example)
        assert ossctl("config", "check") == ""


def test_aliases_and_presets_are_completed(files: Files) -> None:
    files[0].write_text("[model.nana]\nmodel = 'nano'\n[preset.short]\n[preset.shorter]\n[preset.long]\n")
    assert complete_model("nan")[0] == "nana"
    assert complete_alias("n") == ["nana"]
    assert complete_preset("sh") == ["short", "shorter"]
    files[0].write_text("[")
    assert complete_preset("sh") == []
    assert "nano" in complete_model("nan")


CHECKED = """\
[defaults]
temprature = 0
[run]
seed = "x"
[model.a]
model = "b"
[model.b]
model = "a"
[model.c]
model = "qwen"
[preset.p]
top-p = 3
regex = "("
[preset.q]
preset = "r"
[preset.s]
prompt = "{{ "
[mcp.x]
comand = "y"
"""


def test_check_finds_every_mistake(ossctl: Run, files: Files) -> None:
    files[0].write_text(CHECKED)
    lines = ossctl("config", "check", code=2).splitlines()
    expected = [
        "line 2: unknown key defaults.temprature. Did you mean temperature or template?",
        "line 19: unknown key mcp.x.comand. Did you mean command?",
        "line 4: run.seed: ",
        "line 11: [preset.p]: --top-p is 3.0, must be from 0 to 1",
        "line 11: [preset.p]: --regex: ",
        "line 16: [preset.s]: --prompt: ",
        "line 8: model.b.model: the aliases form a cycle: a -> b -> a",
        "line 10: model.c.model: no model is called qwen. ",
        "line 15: preset.q.preset: there is no preset r. ",
        "line 18: mcp.x: expected either command or url",
    ]
    assert len(lines) == len(expected)
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(f"{files[0]}, {start}")


def test_check_of_a_right_file_finds_nothing(ossctl: Run, files: Files) -> None:
    ossctl("config", "check")
    files[0].write_text("[run]\nseed = 1\n[model.mine]\nmodel = 'nano'\n[mcp.x]\ncommand = 'y'\n")
    assert ossctl("config", "check") == ""


def test_the_commands_that_mend_a_file_work_with_a_broken_one(
    ossctl: Run, error: Fail, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    files[0].write_text("[run\n")
    assert ossctl("config", "path") == f"{files[0]}\n"
    assert "line 1" in error("ls").message
    editor = files[0].with_name("edit.py")
    editor.write_text(f"#!{sys.executable}\nimport sys\nopen(sys.argv[1], 'w').write('[run]\\nsed = 1\\n')\n")
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("EDITOR", str(editor))
    assert "unknown key run.sed. Did you mean seed" in ossctl("config", "edit", code=2)
    with monkeypatch.context() as windows:  # where `code` is code.cmd, which only a search finds
        windows.setattr("ossctl.app.tools.processes.startable", lambda argv: [str(editor), *argv[1:]])
        windows.setenv("EDITOR", "code --wait")
        assert "cannot start" not in ossctl("config", "edit", code=2)
    monkeypatch.setenv("EDITOR", "no-such-editor")
    assert "cannot start the editor no-such-editor" in error("config", "edit").message
    monkeypatch.setenv("EDITOR", "'vi")
    assert error("config", "edit").message.startswith("the editor 'vi: ")


def test_a_file_whose_folder_cannot_be_created_is_not_edited(
    error: Fail, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    files[0].write_text("")
    monkeypatch.setenv("OSSCTL_CONFIG", str(files[0] / "below" / "config.toml"))
    assert error("config", "edit").message.startswith(f"cannot create {files[0] / 'below'}: ")


@pytest.mark.parametrize("kind", ["model", "preset", "mcp"])
def test_a_name_without_a_table_is_one_mistake(kind: str, ossctl: Run, files: Files) -> None:
    files[0].write_text(f"[{kind}]\nfoo = 1\n")
    assert ossctl("config", "check", code=2).splitlines() == [
        f"{files[0]}, line 2: {kind}.foo is not a table. Write [{kind}.foo]."
    ]


def test_a_run_is_written_as_a_preset(ossctl: Run, error: Fail, files: Files, tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    settings = {"reasoning_effort": "low", "date": "2025-01-01", "max_tokens": 9, "stop": ["x"], "top_k": 0}
    run.write_text(json.dumps({"schema": "ossctl.run/1", "seed": 7, "settings": settings}, indent=2))
    expected = {"effort": "low", "max-tokens": 9, "stop": ["x"], "top-k": 0, "seed": 7}
    assert tomllib.loads(ossctl("config", "from", str(run)))["preset"]["NAME"] == expected
    ossctl("config", "from", str(run), "--as", "again")
    assert values(files[0])["preset"]["again"] == expected
    assert "has a section preset.again" in error("config", "from", str(run), "--as", "again").message
    ossctl("config", "from", str(run), "--as", "again", "--overwrite")
    assert ossctl("config", "check") == ""


def test_a_batch_is_written_as_a_preset_of_what_all_records_share(ossctl: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    first = {"seed": 1, "reasoning_effort": "low", "think": "on"}
    second = {"seed": 2, "reasoning_effort": "low", "think": "off"}
    records = [{"response": {"body": {"settings": first}}}, {"settings": second}, {"error": {"code": "x"}}]
    out.write_text("".join(json.dumps(record) + "\n" for record in records) + '{"cut')
    assert ossctl("config", "from", str(out)) == '[preset.NAME]\neffort = "low"\n'
    cut = out.with_name("out.jsonl.gz")  # as `kill -9` leaves it
    cut.write_bytes(encoder_for(cut).encode(out.read_bytes()))
    assert ossctl("config", "from", str(cut)) == '[preset.NAME]\neffort = "low"\n'
    report = tmp_path / "report.json"
    schema = {"type": "object"}
    settings = {"temperature": 0.5, "schema": schema, "template_variables": {"a": 1}}
    report.write_text(json.dumps({"schema": "ossctl.batch-report/1", "settings": settings}))
    preset = tomllib.loads(ossctl("config", "from", str(report)))["preset"]["NAME"]
    assert preset == {"temperature": 0.5, "schema": '{"type":"object"}', "template-var": {"a": 1}}


@pytest.mark.parametrize("content", [b"", b"text", b"[1]", b'{"a": 1}', b"\xff"])
def test_other_files_are_no_finished_work(error: Fail, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content)
    message = error("config", "from", str(path)).message
    assert message.endswith(("has no settings", "is not the JSON of a run or a batch"))


def test_aliases_are_set_listed_and_deleted(ossctl: Run, error: Fail, files: Files) -> None:
    assert ossctl("alias") == ""
    ossctl("alias", "mine", "nano")
    ossctl("alias", "short", "mine")
    ossctl("config", "set", "model.short.ctx", "512")
    listed = json.loads(ossctl("alias", "--json"))["aliases"]
    assert [(each["name"], each["model"]) for each in listed] == [("mine", "nano"), ("short", "mine")]
    assert "nano" in ossctl("show", "short")
    assert json.loads(ossctl("plan", "short", "--json"))["plan"]["ctx"] == 512
    assert "would form a cycle: mine -> short -> mine" in error("alias", "mine", "short").message
    assert "no model is called nanoo" in error("alias", "x", "nanoo").message
    ossctl("alias", "--delete", "short")
    assert error("alias", "short").message == "there is no alias short"
    assert values(files[0]) == {"model": {"mine": {"model": "nano"}}}
