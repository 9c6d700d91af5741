"""Write what is generated from the program: `python -m tools.generated`. Tests compare it.

These are parts of README.md and docs/, the output that both show, the completions and the man page.
"""

import functools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer.main

from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.plan.report import MachineOptions, plan_one
from ossctl.cli.main import app
from ossctl.cli.plan_view import in_one_line
from ossctl.errors import EXIT_CODES
from ossctl.planning.machine import Machine
from ossctl.planning.workload import Workload
from ossctl.repl.commands import all_commands
from ossctl.repl.commands.help import KEYS
from tests.support.shown_output import PAGES, refreshed_page, run_pages

ROOT = Path(__file__).parents[1]
COMPLETIONS = {
    "bash": ROOT / "completions" / "ossctl.bash",
    "zsh": ROOT / "completions" / "_ossctl",
    "fish": ROOT / "completions" / "ossctl.fish",
    "powershell": ROOT / "completions" / "ossctl.ps1",
}
MAN_PAGE = ROOT / "completions" / "ossctl.1"

# <!-- generated: help --> … <!-- end of generated --> holds what `_PARTS["help"]` gives
_PART = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end of generated -->)", re.DOTALL)

# Keys that prompt_toolkit gives, beside those that `/help` lists.
_MORE_KEYS = (
    ("Ctrl-D", "leave"),
    ("Up, Down", "recall earlier messages, of all chats"),
    ("Tab", "complete commands, their arguments, and files"),
)

# A machine, the best model for it, and the options of `ossctl plan` that describe the machine.
_MACHINES: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("no GPU, 16 GB of RAM", "20b", {"vram": "0", "ram": "16GiB"}),
    ("GPU with 8 GB, 16 GB of RAM", "20b", {"vram": "8GiB", "ram": "16GiB"}),
    ("GPU with 12 GB", "20b", {"vram": "12GiB", "ram": "16GiB"}),
    ("GPU with 16 GB", "20b", {"vram": "16GiB", "ram": "16GiB"}),
    ("Mac with 24 GB", "20b", {"gpu": ("M4 Pro 24GB",)}),
    ("GPU with 24 GB, 64 GB of RAM", "120b", {"vram": "24GiB", "ram": "64GiB"}),
    ("two GPUs with 24 GB, 64 GB of RAM", "120b", {"vram": "24GiB,24GiB", "ram": "64GiB"}),
    ("GPU with 80 GB", "120b", {"vram": "80GiB", "ram": "64GiB"}),
    ("Strix Halo or DGX Spark, 128 GB", "120b", {"gpu": ("Strix Halo 128GB",)}),
)


def generated() -> Iterator[tuple[Path, str]]:
    """Each generated file, or file with generated parts, and the text that it should have."""
    for page in PAGES:
        yield page, with_parts(page.read_text(encoding="utf-8"))
    for shell, path in COMPLETIONS.items():
        yield path, completion(shell)
    yield MAN_PAGE, man_page()


def with_parts(page: str) -> str:
    """`page` with its generated parts up to date."""
    return _PART.sub(lambda match: f"{match[1]}{_PARTS[match['name']]()}{match[3]}", page)


def _help() -> str:
    """Each command's help text under a heading of its own."""
    _, sections = _parsed(_printed("--help"))
    commands = [words for name, _ in sections["Commands"] for words in _leaves(*name.split())]
    return "".join(
        f"\n## ossctl {' '.join(words)}\n\n```text\n{_printed(*words, '--help').strip()}\n```\n"
        for words in commands
    )


def _leaves(*words: str) -> Iterator[tuple[str, ...]]:
    """A command, or those of a group."""
    _, sections = _parsed(_printed(*words, "--help"))
    if "Commands" not in sections:
        yield words
    for name, _ in sections.get("Commands", []):
        yield from _leaves(*words, name)


def _exit_codes() -> str:
    return _table(("code", "meaning"), ((str(int(code)), meaning) for code, meaning in EXIT_CODES.items()))


def _environment() -> str:
    """The environment variables of options, and the commands that have them."""
    options: dict[str, tuple[str, str]] = {}
    commands: dict[str, list[str]] = {}
    for name, command in _commands(typer.main.get_command(app)):
        for option in command.params:
            if isinstance(option.envvar, str):
                about = re.sub(r"\s*\[default:.*?\]", "", str(getattr(option, "help", "")))
                options.setdefault(option.envvar, (f"`{max(option.opts, key=len)}`", about))
                commands.setdefault(option.envvar, []).append(name)
    rows = (
        (f"`{name}`", option, about, ", ".join(commands[name]))
        for name, (option, about) in sorted(options.items())
    )
    return _table(("variable", "option", "meaning", "commands"), rows)


def _commands(group: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    for word, command in getattr(group, "commands", {}).items():
        full = f"{name} {word}".strip()
        yield from [(full, command)] if not hasattr(command, "commands") else _commands(command, full)


def _slash_commands() -> str:
    return _table(("command", "does"), ((f"`{c.usage}`", c.help) for c in all_commands().commands))


def _keys() -> str:
    return _table(("key", "does"), (*KEYS, *_MORE_KEYS))


def _machines() -> str:
    """What fits where, as `ossctl plan` has it."""
    rows = []
    for machine, model, options in _MACHINES:
        given = MachineOptions(**options).machine()
        plain = Machine(given.devices, given.ram_total, given.ram_free, cores=8, hypothetical=True)
        outcome = plan_one(model, LoadOptions(), Workload(), plain, print).fit
        rows.append((machine, f"gpt-oss-{model}", in_one_line(outcome)))
    return _table(("machine", "model", "plan"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in (head, *rows)]
    return "".join([lines[0], f"|{'---|' * len(head)}\n", *lines[1:]])


_PARTS: Mapping[str, Callable[[], str]] = {
    "help": _help,
    "exit-codes": _exit_codes,
    "environment": _environment,
    "slash-commands": _slash_commands,
    "keys": _keys,
    "machines": _machines,
}


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


@functools.cache
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


def main() -> None:
    """Write the generated files, then refresh the output that pages show."""
    for path, text in generated():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for page, ran in run_pages().items():
        page.write_text(refreshed_page(page.read_text(encoding="utf-8"), ran), encoding="utf-8")
        for each in ran:
            if each.code != 0:
                print(
                    f"{page.relative_to(ROOT)}, line {each.step.line}: {each.step.script}",
                    *each.output,
                    sep="\n",
                )


if __name__ == "__main__":
    main()
