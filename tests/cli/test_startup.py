"""What a start of `ossctl` costs: the help and the version load nothing heavy."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ossctl
from tests.support.command import environment

HEAVY = {
    "huggingface_hub",
    "jinja2",
    "llama_cpp",
    "llguidance",
    "mcp",
    "msgspec",
    "numpy",
    "platformdirs",
    "prompt_toolkit",
    "regex",
    "rich",
}


def loaded(home: Path, *arguments: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter imports for `arguments`."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "import ossctl.cli.main"],
        ["-m", "ossctl", "--help"],
        ["-m", "ossctl", "--version"],
        ["-m", "ossctl", "batch", "--help"],
        ["-m", "ossctl", "plan", "--help"],
        ["-m", "ossctl", "doctor", "--help"],
    ],
    ids=" ".join,
)
def test_a_start_without_work_loads_no_heavy_library(tmp_path: Path, arguments: list[str]) -> None:
    names = loaded(tmp_path, *arguments)
    assert {"ossctl", "typer"} <= names
    assert not names & HEAVY


def test_without_config_files_no_parser_of_them_is_loaded(tmp_path: Path) -> None:
    names = loaded(tmp_path, "-m", "ossctl", "sessions", "list")
    assert not {"tomllib", "tomlkit"} & names


def test_no_module_of_ours_imports_click() -> None:
    package = Path(ossctl.__file__).parent
    names = {name.partition(".")[0] for path in package.rglob("*.py") for name in imported(path)}
    assert "typer" in names
    assert "click" not in names


def test_tools_without_mcp_servers_import_nothing_of_mcp(tmp_path: Path) -> None:
    program = "from ossctl.app.tools.options import ToolOptions; ToolOptions().toolbox()"
    assert not {"mcp", "mcp_types", "anyio", "pydantic", "httpx2"} & loaded(tmp_path, "-c", program)
