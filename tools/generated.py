"""What is made from the program itself: `python -m tools.generated` writes it, tests compare it.

The help texts in README.md, the completions for shells, and the man page.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ossctl.errors import EXIT_CODES
from ossctl.repl.commands import all_commands

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
COMPLETIONS = {
    "bash": ROOT / "completions" / "ossctl.bash",
    "zsh": ROOT / "completions" / "_ossctl",
    "fish": ROOT / "completions" / "ossctl.fish",
    "powershell": ROOT / "completions" / "ossctl.ps1",
}
MAN_PAGE = ROOT / "completions" / "ossctl.1"

# <!-- help: batch --> … <!-- end of help --> holds what `ossctl batch --help` prints
_BLOCK = re.compile(r"(<!-- help: (?P<command>[a-z ]*?) *-->\n).*?(<!-- end of help -->)", re.DOTALL)

_COMMANDS = re.compile(r"(<!-- slash commands -->\n).*?(<!-- end of slash commands -->)", re.DOTALL)


def generated() -> Iterator[tuple[Path, str]]:
    """Every file that is made, or has parts that are, with the text that it should have."""
    yield README, with_help(README.read_text(encoding="utf-8"))
    for shell, path in COMPLETIONS.items():
        yield path, completion(shell)
    yield MAN_PAGE, man_page()


def with_help(text: str) -> str:
    """`text` with every block as the program prints it now, and the table of slash commands."""
    return _COMMANDS.sub(_commands, _BLOCK.sub(_help, text))


def completion(shell: str) -> str:
    """What `ossctl --show-completion` prints in that shell."""
    without_detection = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    return _printed("--show-completion", shell, **without_detection).strip() + "\n"


def man_page() -> str:
    """All commands and options in one page, in the language of man pages, from the help texts."""
    about, sections = _parsed(_printed("--help"))
    lines = [
        '.TH OSSCTL 1 "" "ossctl" "User Commands"',
        ".SH NAME",
        rf"ossctl \- {_roff(about[0].rstrip('.'))}",
        ".SH SYNOPSIS",
        r".B ossctl \fICOMMAND\fR [\fIOPTIONS\fR] [\fIARGUMENTS\fR]",
        *(line for name, _ in sections["Commands"] for line in _command(name)),
        ".SH EXIT STATUS",
        *(line for code, meaning in EXIT_CODES.items() for line in _item(str(int(code)), meaning)),
    ]
    return "\n".join(lines) + "\n"


def _command(*words: str) -> Iterator[str]:
    about, sections = _parsed(_printed(*words, "--help"))
    if "Commands" in sections:
        for name, _ in sections["Commands"]:
            yield from _command(*words, name)
        return
    yield f".SH OSSCTL {' '.join(words).upper()}"
    for paragraph in about:
        yield from (".PP", _roff(paragraph))
    for title, items in sections.items():
        yield f".SS {title}"
        for name, text in items:
            yield from _item(name, text)


def _parsed(text: str) -> tuple[list[str], dict[str, list[tuple[str, str]]]]:
    """The paragraphs of a help text, and its sections' entries, each with what it says."""
    before, *rest = re.split(r"^(\w[\w ]*):\n", text, flags=re.MULTILINE)
    _, _, described = before.partition("\n\n")
    about = [" ".join(paragraph.split()) for paragraph in described.split("\n\n") if paragraph.strip()]
    sections: dict[str, list[tuple[str, str]]] = {}
    for title, body in zip(rest[::2], rest[1::2], strict=True):
        entries = re.split(r"^  (?=\S)", body, flags=re.MULTILINE)[1:]
        sections[title] = [_entry(entry) for entry in entries]
    return about, sections


def _entry(entry: str) -> tuple[str, str]:
    name, _, text = re.sub(r"\n +", "  ", entry.strip()).partition("  ")
    return name, " ".join(text.split())


def _item(name: str, text: str) -> Iterator[str]:
    yield from (".TP", rf"\fB{_roff(name)}\fR", _roff(text))


def _roff(text: str) -> str:
    """Text that roff prints as it stands."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped[:1] in (".", "'") else escaped


def _help(match: re.Match[str]) -> str:
    usage = _printed(*match["command"].split(), "--help").strip()
    return f"{match[1]}```\n{usage}\n```\n{match[3]}"


def _commands(match: re.Match[str]) -> str:
    rows = [f"| `{c.usage.replace('|', chr(92) + '|')}` | {c.help} |" for c in all_commands().commands]
    table = "\n".join(["| command | does |", "|---|---|", *rows])
    return f"{match[1]}{table}\n{match[2]}"


def _printed(*arguments: str, **variables: str) -> str:
    """What `ossctl` prints, whatever this user's settings are."""
    program = "import sys; sys.argv[0] = 'ossctl'; from ossctl.__main__ import main; main()"
    command = [sys.executable, "-c", program, *arguments]
    settings = {"COLUMNS": "100", "NO_COLOR": "1", "PYTHONUTF8": "1"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OSSCTL_")}
    done = subprocess.run(
        command,
        capture_output=True,
        check=True,
        env={**kept, **settings, **variables},
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
    )
    return done.stdout


if __name__ == "__main__":
    for path, text in generated():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
