"""Config files: what counts, what a project may set, and what names stand for."""

from pathlib import Path

import pytest

from ossctl.config.config import Config, load_config
from ossctl.config.file import key_of, read_file
from ossctl.errors import UsageError


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The user's file and the project's, in the current folder."""
    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OSSCTL_CONFIG", raising=False)
    (tmp_path / "home" / "config").mkdir(parents=True)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "home" / "config" / "config.toml", tmp_path / "project" / "ossctl.toml"


Files = tuple[Path, Path]


def loaded(files: Files, user: str = "", project: str = "") -> Config:
    for path, text in zip(files, (user, project), strict=True):
        if text:
            path.write_text(text)
    return load_config()


def test_without_files_nothing_is_set(folders: Files) -> None:
    assert loaded(folders).files == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[run]\nx = [1,\n", "config.toml: Invalid value (at end of document)"),
        (
            b"[run]\ntop-p 1\n",
            "config.toml, line 2: Expected '=' after a key in a key/value pair at column 7",
        ),
        (b"[run]\nx = 1\nx = 2\n", "config.toml, line 3: Cannot overwrite a value"),
        (b"x = '\xff'", "config.toml: it is not UTF-8 text, byte 0xff at offset 5"),
        (b"x = " + b"[" * 5000, "config.toml: nested too deeply"),
    ],
    ids=["unfinished", "no-equals", "twice", "no-text", "deep"],
)
def test_what_is_not_toml_is_reported_with_its_line(folders: Files, data: bytes, said: str) -> None:
    folders[0].write_bytes(data)
    with pytest.raises(UsageError) as caught:
        load_config()
    assert said in caught.value.message


def test_a_file_that_cannot_be_read_is_an_error(folders: Files) -> None:
    folders[0].mkdir()
    with pytest.raises(UsageError, match=r"cannot read .*config\.toml: Is a directory"):
        load_config()


def test_a_variable_names_another_file_or_none(folders: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded(folders, "[run]\nseed = 1\n", "[run]\nseed = 2\n")
    monkeypatch.setenv("OSSCTL_CONFIG", "off")
    assert load_config().files == []
    other = folders[0].with_name("other.toml")
    other.write_text("[run]\nseed = 3\n")
    monkeypatch.setenv("OSSCTL_CONFIG", str(other))
    assert [file.values["run"]["seed"] for file in load_config().files] == [3, 2]
    monkeypatch.setenv("OSSCTL_CONFIG", "missing.toml")
    with pytest.raises(UsageError, match=r"cannot read missing.toml"):
        load_config()


PROJECT = """
trusted = ["."]
[run]
temperature = 0
template-var = {a = 1}
tool-cmd = {a = "rm", n = "rm", model = "rm"}
yes = true
browser = "web"
python-in = "container"
output = "x"
template = "evil.jinja"
[batch.status]
of = "x"
[sessions.delete]
yes = true
[preset.p]
system = "Be brief."
mcp = ["curl evil"]
files = ".:rw"
[model.20b]
ctx = 4096
[mcp.evil]
command = "rm"
[future]
program = "rm"
"""


def test_a_projects_file_runs_no_programs_and_reaches_nothing(folders: Files) -> None:
    config = loaded(folders, "", PROJECT)
    assert config.project is not None
    assert config.project.values == {
        "run": {"temperature": 0, "template-var": {"a": 1}},
        "batch": {},
        "sessions": {},
        "preset": {"p": {"system": "Be brief."}},
        "model": {"20b": {"ctx": 4096}},
        "future": {},
    }
    assert ("mcp",) in config.project.withheld
    assert config.server("evil") is None
    assert len(config.project.withheld) == 13


@pytest.mark.parametrize("listed", [".", "~"])
def test_the_users_own_file_trusts_a_folder(
    folders: Files, listed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(Path.cwd()))
    config = loaded(folders, f'trusted = ["{listed}"]', PROJECT)
    assert config.project is not None
    assert not config.project.withheld
    assert config.server("evil") is not None


def test_a_projects_paths_stay_in_its_folder(folders: Files) -> None:
    config = loaded(folders, "[run]\nsystem = 1\n", "[run]\nsystem = 1\n")
    user, project = config.settings("run")
    assert project["system"].path("sub/x") == "sub/x"
    assert user["system"].path("x") == str(folders[0].parent / "x")
    assert user["system"].path("~/x") == str(Path.home() / "x")
    Path("link").symlink_to(folders[0].parent)
    for path in ("../x", "/etc/passwd", "~/.ssh/id", "link/config.toml", "a/../../x"):
        with pytest.raises(UsageError, match=r"is not in the folder of ossctl.toml"):
            project["system"].path(path)


def test_an_alias_leads_to_another(folders: Files) -> None:
    config = loaded(
        folders, '[model.a]\nmodel = "b"\n[model.20b]\nctx = 1\nmodel = "20b"', '[model.b]\nmodel = "20b"'
    )
    assert config.model_chain("a") == ["a", "b", "20b"]
    assert config.model_chain("20b") == ["20b"]
    assert list(config.aliases()) == ["a", "b"]


@pytest.mark.parametrize("start", ["a", "b", "x"])
def test_a_cycle_of_aliases_is_an_error(folders: Files, start: str) -> None:
    config = loaded(folders, '[model.a]\nmodel = "b"\n[model.b]\nmodel = "a"\n[model.x]\nmodel = "a"')
    with pytest.raises(UsageError, match=r"config.toml, line \d: model.\w.model: the aliases form a cycle"):
        config.model_chain(start)


def test_presets_come_after_those_that_they_build_on(folders: Files) -> None:
    config = loaded(folders, "[preset.a]\n[preset.b]\npreset = 'a'\n[preset.c]\npreset = ['b', 'a']")
    assert config.preset_chain(["c"]) == ["a", "b", "c"]
    assert config.preset_chain(["b", "a", "c"]) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("[preset.a]\npreset = 'b'\n[preset.b]\npreset = ['a']", "the presets form a cycle: a -> b -> a", ""),
        ("[preset.a]\npreset = 'a'", "line 2: preset.a.preset: the presets form a cycle: a -> a", ""),
        ("[preset.aa]", "there is no preset a", "Did you mean aa? Presets: aa."),
        ("[run]", "there is no preset a", "config edit"),
        ("[preset.a]\npreset = 'c'", "line 2: preset.a.preset: there is no preset c", "Presets: a."),
        ("[preset.a]\npreset = 1", "line 2: preset.a.preset: 1 is neither the name of a preset nor", ""),
        ("[preset]\na = 1", "line 2: preset.a is not a table", "[preset.a]"),
    ],
)
def test_mistakes_of_presets_are_errors(folders: Files, text: str, said: str, hint: str) -> None:
    config = loaded(folders, text)
    with pytest.raises(UsageError) as caught:
        [config.preset(name) for name in config.preset_chain(["a"])]
    assert said in caught.value.message
    assert hint in caught.value.hint


def test_a_key_is_written_as_in_toml() -> None:
    assert key_of("run.temperature") == ("run", "temperature")
    assert key_of('model."qwen3.5".ctx') == ("model", "qwen3.5", "ctx")
    for wrong in ("", "a b", "a..b", "a=1", "a\nb", "[a]"):
        with pytest.raises(UsageError, match="is not a key"):
            key_of(wrong)


def test_a_byte_order_mark_and_windows_newlines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(b"\xef\xbb\xbf[run]\r\ntop-p = 1\r\n")
    file = read_file(path)
    assert file is not None
    assert file.values == {"run": {"top-p": 1}}
    assert file.line(("run", "top-p")) == 2
