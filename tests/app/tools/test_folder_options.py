"""What `--files` and `--browser` give the model."""

from contextlib import closing
from pathlib import Path

import pytest

from ossctl.app.tools.folder_options import browser_source
from ossctl.app.tools.options import ToolOptions
from ossctl.app.tools.source import ToolOutcome
from ossctl.dialect import ToolCall
from ossctl.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path / "home"))
    (tmp_path / "docs").mkdir()
    return tmp_path / "docs"


def names(*, files: str = "", browser: str = "") -> list[str]:
    return [tool.name for tool in ToolOptions(files=files, browser=browser).toolbox().offered]


def test_the_functions_of_a_folder(folder: Path) -> None:
    assert names(files=str(folder)) == ["read_file", "list_files", "grep"]
    assert names(files=f"{folder}:ro") == ["read_file", "list_files", "grep"]
    assert names(files=f"{folder}:rw")[3:] == ["write_file", "apply_patch"]
    assert names(browser=str(folder)) == ["browser_search", "browser_open", "browser_find"]


def test_the_folder_of_a_user_who_does_not_exist_is_missing() -> None:
    with pytest.raises(UsageError, match="--files ~nobody-here/x: there is no such folder"):
        names(files="~nobody-here/x")


def test_a_name_that_ends_like_the_option(folder: Path) -> None:
    (folder / "x:rw").mkdir()
    assert len(names(files=f"{folder}/x:rw:ro")) == 3


@pytest.mark.parametrize("options", [{"files": "none:rw"}, {"browser": "none"}])
def test_a_missing_folder_is_named(folder: Path, options: dict[str, str]) -> None:
    ((option, _),) = options.items()
    with pytest.raises(UsageError, match=f"--{option} none: there is no such folder"):
        names(**options)
    with pytest.raises(UsageError, match=f"--{option} {__file__}: not a folder"):
        names(**{option: __file__})


def test_changes_of_files_need_a_terminal_to_ask_on(folder: Path) -> None:
    ToolOptions(files=f"{folder}").refuse_unaskable(can_ask=False)
    ToolOptions(files=f"{folder}:rw", unasked=True).refuse_unaskable(can_ask=False)
    with pytest.raises(UsageError, match="changes files, and there is no terminal"):
        ToolOptions(files=f"{folder}:rw").refuse_unaskable(can_ask=False)


def test_a_conversation_searches_a_folder_and_changes_a_file_of_it(folder: Path) -> None:
    (folder / "a.md").write_text("# Turku\n\nA town.\n")
    questions: list[str] = []

    def allow(_call: ToolCall, question: str) -> bool:
        questions.append(question)
        return True

    calls = [
        ToolCall("browser_search", '{"query": "Turku"}'),
        ToolCall("browser_open", '{"id": 0}'),
        ToolCall("write_file", '{"path": "a.md", "text": "# Turku\\n\\nA city.\\n"}'),
        ToolCall("read_file", '{"path": "a.md", "start": 3}'),
    ]
    toolbox = ToolOptions(files=f"{folder}:rw", browser=str(folder)).toolbox()
    with closing(toolbox), closing(toolbox.open()) as runner:
        found = [each for each in runner.run(calls, allow, lambda: True) if isinstance(each, ToolOutcome)]
    assert found[1].result.endswith("L0: # Turku\nL1: \nL2: A town.\nL3: ")
    assert [outcome.result for outcome in found[2:]] == ["updated a.md", "3\tA city."]
    assert len(questions) == 1
    assert "-A town.\n+A city.\n" in questions[0]


def test_a_missing_library_for_the_web_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ossctl.app.tools.browser.web_library.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="needs the packages ddgs and trafilatura") as caught:
        names(browser="web")
    assert 'pip install "ossctl[web]"' in caught.value.hint


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("mcp:uvx wiki-mcp --lang fi", "the MCP server wiki (uvx wiki-mcp --lang fi)"),
        ("mcp:notes=python notes.py", "the MCP server notes (python notes.py)"),
        ("mcp:https://mcp.example.org/mcp?key=1", "the MCP server example (https://mcp.example.org/mcp)"),
        ("./mcp:docs", "documents in "),
        ("mcp", "documents in "),
    ],
)
def test_what_is_searched(folder: Path, monkeypatch: pytest.MonkeyPatch, given: str, name: str) -> None:
    monkeypatch.chdir(folder)
    (folder / "mcp").mkdir()
    (folder / "mcp:docs").mkdir()
    with closing(browser_source(given, 20.0)) as source:
        (note,) = source.notes()
    assert note.startswith(f"The model can search {name}")


def test_a_search_server_that_is_not_one_is_named(folder: Path) -> None:
    with pytest.raises(UsageError, match="--browser mcp: expected a command, a URL"):
        names(browser="mcp:")
    (folder / "two.json").write_text('{"mcpServers": {"a": {"command": "a"}, "b": {"command": "b"}}}')
    with pytest.raises(UsageError, match="one of 2 MCP servers") as caught:
        names(browser=f"mcp:{folder}/two.json")
    assert caught.value.hint.endswith("a, b")
