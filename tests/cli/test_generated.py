"""What is made from the program is up to date, and works where it is used."""

import os
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.programs import with_ossctl
from tools.generated import COMPLETIONS, MAN_PAGE, ROOT, generated

LAID_OUT_ALIKE = version("typer").startswith("0.29.")


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@pytest.mark.skipif(not LAID_OUT_ALIKE, reason="typer 0.29 lays out the help texts")
def test_every_generated_file_is_what_the_program_gives_now() -> None:
    stale = [path.name for path, text in generated() if path.read_text(encoding="utf-8") != text]
    assert not stale, "run `make generated`"


def test_the_reference_has_every_command_with_its_options() -> None:
    text = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    commands = [
        *["chat", "run", "batch", "compare", "eval", "plan", "bench", "doctor", "worker", "alias"],
        *["pull", "ls", "show", "verify", "rm", "batch status", "batch join", "eval ppl"],
    ]
    commands += [f"sessions {name}" for name in ["list", "show", "search", "export", "delete"]]
    commands += [
        f"config {name}" for name in ["show", "path", "get", "set", "unset", "edit", "check", "from"]
    ]
    commands += [f"log {name}" for name in ["list", "show", "search", "delete"]]
    commands += [f"cache {name}" for name in ["list", "clear"]]
    assert sorted(re.findall("^## ossctl (.*)$", text, re.MULTILINE)) == sorted(commands)
    assert text.count("Usage: ossctl ") == len(commands)


def shell(folder: Path, *command: str) -> list[str]:
    done = subprocess.run(
        command, env=with_ossctl(folder), capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.split("\n")


@needs("bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["ossctl", "ru"], ["run"]),
        (["ossctl", "run", "--max-t"], ["--max-tokens"]),
        (["ossctl", "run", "--effort", "h"], ["high"]),
        (["ossctl", "config", "get", "run.temp"], ["run.temperature", "run.template", "run.template-var"]),
        (["ossctl", "run", "-m", "deepseek-v2-"], ["deepseek-v2-lite"]),
        (["ossctl", "compare", "-m", "nano,deepseek-v2-"], ["nano,deepseek-v2-lite"]),
    ],
)
def test_bash_completes(tmp_path: Path, words: list[str], offered: list[str]) -> None:
    script = (
        f"source {COMPLETIONS['bash']}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1};"
        ' _ossctl_completion ossctl; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    assert [line for line in shell(tmp_path, "bash", "-c", script) if line] == offered


@needs("zsh")
def test_zsh_completes(tmp_path: Path) -> None:
    # compsys needs a terminal; what the script hands to it does not
    script = (
        '_arguments() { print -r -- "$*" }; compdef() { true };'
        f" words=(ossctl run --max-t); CURRENT=3; source {COMPLETIONS['zsh']}; _ossctl_completion"
    )
    assert any("--max-tokens" in line for line in shell(tmp_path, "zsh", "-f", "-c", script))


@needs("fish")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("ossctl ru", "run"),
        ("ossctl run --max-t", "--max-tokens"),
        ("ossctl run -m deepseek-v", "deepseek-v2-lite"),
    ],
)
def test_fish_completes(tmp_path: Path, typed: str, offered: str) -> None:
    script = f"source {COMPLETIONS['fish']}; complete -C '{typed}'"
    lines = shell(tmp_path, "fish", "--no-config", "-c", script)
    assert offered in [line.partition("\t")[0] for line in lines]


@needs("man")
def test_the_man_page_is_read_without_a_complaint(tmp_path: Path) -> None:
    done = subprocess.run(
        ["man", "--warnings", "-l", str(MAN_PAGE)],
        env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "100"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "OSSCTL RUN" in done.stdout
    assert "--max-tokens" in done.stdout
    assert not done.stderr
