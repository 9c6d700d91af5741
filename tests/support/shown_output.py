"""Run the commands in README.md and docs/ as a reader would, and compare their output with what is shown.

A page is one shell session in an empty folder, with a home of its own, the `ossctl` of this checkout, and a
local Hugging Face hub that serves the small model `nano` as gpt-oss-20b. Its code blocks run in order:

    ```sh        runs as a whole and must succeed
    ```console   each `$ command` runs and must succeed. The lines below it are its output; without any, the
                 output is not compared. A line `…` stands for any number of lines.
    ```other     does not run

A comment on the line before a block changes this:

    <!-- not run: REASON -->
    <!-- output -->         the block is the output of the block before
    <!-- exact -->          numbers are compared as well
    <!-- stand-in -->       numbers belong to the real model; a refresh keeps them
    <!-- chat: OPTIONS -->  a transcript of `ossctl chat OPTIONS`; its lines that begin with `> ` are typed

    <!-- setup: COMMANDS --> runs at this place and is not shown

Output that differs only in numbers, such as times, counts as equal.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from ossctl.data import DATA
from ossctl.hub.catalogue import catalogue
from tests.support.command import without_progress
from tests.support.hub import Hub
from tests.support.programs import share_trial, with_ossctl

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

_TYPED_CHAT = Path(__file__).with_name("typed_chat.py")
_AT_ONCE = 2  # pages
_SECONDS = 400.0  # for a page
_HIDDEN = "setup"
_HOME = "/home/you"  # as pages show it
_ELISION = "…"
_START, _END = "\x1e", "\x1f"  # around the output of each step

_FENCE = re.compile(
    r"^(?P<fence>`{3,})(?P<language>\w*)\n(?P<text>.*?)^(?P=fence)$", re.DOTALL | re.MULTILINE
)
_COMMAND = re.compile(r"^\$ (?P<script>(?:.*\\\n)*.*)\n(?P<shown>(?:(?!\$ ).*\n)*)", re.MULTILINE)
_MARK = re.compile(r"^<!-- (?!setup:)(?P<text>[^\n]*) -->\n(?=```)", re.MULTILINE)
_MARKS = re.compile(r"not run: \S.*|output|exact|stand-in|chat: .*")
_SETUP = re.compile(r"^<!-- setup:\s+(?P<text>.*?)\s*-->$", re.MULTILINE | re.DOTALL)

# Lines that pages omit: nano's introduction, and remarks on this machine or on the stand-in.
_ASIDE = re.compile(
    "nano is a |.* on the hub is newer than this ossctl|.* GPU is not used: |llama.cpp's optimised CPU "
)

_QUANTITY = re.compile(r"\d[\d,.]*(?: (?:[kMG]i?B)\b)?")

_SETTINGS = (
    "OSSCTL_",
    "HF_",
    "XDG_",
    "LC_",
    "LLAMA_CACHE",
    "OLLAMA_",
    "COLUMNS",
    "LINES",
    "TERM",
    "NO_COLOR",
)


@dataclass(frozen=True)
class Block:
    """A code block of a page. Its text is `page[start:end]`; `line` is the number of its first line."""

    language: str
    mark: str
    text: str
    start: int
    end: int
    line: int

    @property
    def not_run(self) -> str:
        """Why a block of commands is not run; empty if it is."""
        return self.mark.removeprefix("not run: ") if self.mark.startswith("not run: ") else ""


@dataclass(frozen=True)
class Step:
    """Commands, and the output that the page shows for them: `page[start:end]`, if any."""

    script: str
    line: int
    stops_at_errors: bool = False
    shown: tuple[str, ...] | None = None
    start: int = 0
    end: int = 0
    mark: str = ""


@dataclass(frozen=True)
class Ran:
    """A step that ran. `code` is None if it did not reach its end."""

    step: Step
    output: tuple[str, ...]
    code: int | None

    @property
    def is_as_shown(self) -> bool:
        shown = self.step.shown
        return shown is None or _matches(shown, self.output, exact="exact" in self.step.mark)

    @property
    def described(self) -> str:
        """For a message."""
        ending = {None: "did not come to its end", 0: ""}.get(self.code, f"exit code {self.code}")
        return "\n".join([f"line {self.step.line}: {self.step.script.strip()}", *self.output, ending])

    @property
    def refreshed(self) -> tuple[str, ...]:
        """What the page should show."""
        shown = self.step.shown
        if shown is None or self.is_as_shown:
            return shown or ()
        new = self.output
        if _ELISION in shown:
            head, tail = shown.index(_ELISION), len(shown) - 1 - shown[::-1].index(_ELISION)
            n_tail = len(shown) - 1 - tail
            new = (*new[:head], _ELISION, *(new[len(new) - n_tail :] if n_tail else ()))
        return _with_old_numbers(shown, new) if "stand-in" in self.step.mark else new


def blocks_of(page: str) -> list[Block]:
    """The code blocks of a page's text, and its setups, in order."""
    marks = {match.end(): match["text"] for match in _MARK.finditer(page)}

    def block(language: str, match: re.Match[str]) -> Block:
        line = page.count("\n", 0, match.start()) + 1
        return Block(language, marks.get(match.start(), ""), match["text"], *match.span("text"), line)

    found = [block(match["language"], match) for match in _FENCE.finditer(page)]
    found += [block(_HIDDEN, match) for match in _SETUP.finditer(page)]
    return sorted(found, key=lambda each: each.start)


def unknown_marks(page: str) -> list[str]:
    """Comments before blocks that are not among those above."""
    marks = (block.mark for block in blocks_of(page))
    return [mark for mark in marks if mark and not _MARKS.fullmatch(mark)]


def steps_of(page: str) -> list[Step]:
    """What a page runs."""
    steps: list[Step] = []
    for block in blocks_of(page):
        if block.not_run:
            continue
        if block.mark.startswith("output"):
            steps[-1] = replace(
                steps[-1],
                shown=tuple(block.text.splitlines()),
                start=block.start,
                end=block.end,
                mark=block.mark,
            )
        elif block.mark.startswith("chat: "):
            steps.append(_chat_step(block))
        elif block.language in ("sh", _HIDDEN):
            steps.append(Step(block.text, block.line, stops_at_errors=True))
        elif block.language == "console":
            steps += _console_steps(block)
    return steps


def run_pages(pages: Sequence[Path] = PAGES) -> dict[Path, list[Ran]]:
    """Run pages, two at a time, each in a folder of its own."""
    with Hub() as hub, ThreadPoolExecutor(_AT_ONCE) as pool, tempfile.TemporaryDirectory() as folder:
        nano = (DATA / "nano.gguf").read_bytes()
        variant = catalogue().entry("20b").variant
        hub.add(variant.reference.repo, {variant.files[0].name: nano}, newest=variant.revision)
        hub.add(
            "unsloth/gpt-oss-20b-GGUF", {f"gpt-oss-20b-{q}.gguf": nano for q in ("Q4_K_M", "Q8_0", "F16")}
        )
        share_trial(Path(folder) / "trial")  # made before the first page needs it
        folders = [Path(folder) / str(number) for number in range(len(pages))]
        return dict(
            zip(pages, pool.map(lambda p, f: _run_page(p, f, hub.variables), pages, folders), strict=True)
        )


def refreshed_page(page: str, ran: Sequence[Ran]) -> str:
    """The page's text with the output that its commands have now."""
    for each in reversed(ran):
        if each.step.shown is not None and each.code == 0 and not each.is_as_shown:
            text = "".join(f"{line}\n" for line in each.refreshed)
            page = page[: each.step.start] + text + page[each.step.end :]
    return page


def _console_steps(block: Block) -> Iterator[Step]:
    """A step for each `$ ` line and those that continue it, with the lines up to the next one."""
    for match in _COMMAND.finditer(block.text):
        start, end = (block.start + place for place in match.span("shown"))
        shown = tuple(match["shown"].splitlines()) or None
        yield Step(f"{match['script']}\n", block.line, shown=shown, start=start, end=end, mark=block.mark)


def _chat_step(block: Block) -> Step:
    typed = "".join(f"{line[2:]}\n" for line in block.text.splitlines() if line.startswith("> "))
    options = block.mark.removeprefix("chat: ")
    command = f"TERM=xterm-256color {shlex.join([sys.executable, str(_TYPED_CHAT)])} ossctl chat {options}"
    script = f"{command} <<'END_OF_CHAT'\n{typed}END_OF_CHAT\n"
    shown = tuple(block.text.splitlines())
    return Step(script, block.line, shown=shown, start=block.start, end=block.end, mark=block.mark)


def _run_page(page: Path, folder: Path, variables: Mapping[str, str]) -> list[Ran]:
    steps = steps_of(page.read_text(encoding="utf-8"))
    if not steps:
        return []
    forked = "pgrep" not in "".join(step.script for step in steps)  # which looks for children of the shell's
    environment = _environment(folder, variables, forked=forked)
    script = "set -uo pipefail\n"
    for number, step in enumerate(steps):
        guarded = (
            f"set -e\n{step.script}\nset +e\nwait 2> /dev/null\ntrue" if step.stops_at_errors else step.script
        )
        script += f"printf '{_START}{number}\\n'\n{guarded}\nprintf '{_END}%d\\n' $?\n"
    try:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=folder / "work",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as error:
        done = error.stdout or b""
    pieces = done.decode("utf-8", "replace").split(_START)[1:]
    return [
        _ran(step, piece, folder) for step, piece in zip(steps, [*pieces, *[""] * len(steps)], strict=False)
    ]


def _ran(step: Step, piece: str, folder: Path) -> Ran:
    _, _, rest = piece.partition("\n")
    output, ended, code = rest.partition(_END)
    return Ran(step, tuple(_as_shown(output, folder)), int(code.split()[0]) if ended else None)


def _environment(folder: Path, variables: Mapping[str, str], *, forked: bool) -> dict[str, str]:
    home, work = folder / "home", folder / "work"
    for each in (home, work):
        each.mkdir(parents=True)
    (work / "examples").symlink_to(ROOT / "examples")
    environment = with_ossctl(folder, forked=forked, **variables)
    own = home / ".local" / "state" / "ossctl"  # where OSSCTL_HOME is not set
    own.mkdir(parents=True)
    shutil.copy(Path(environment["OSSCTL_HOME"]) / "state" / "kernels.json", own)
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    kept = {name: value for name, value in environment.items() if not name.startswith(_SETTINGS)}
    return {**kept, **variables, "HOME": str(home), "COLUMNS": "100", "LANG": "C.UTF-8", "TERM": "dumb"}


def _as_shown(output: str, folder: Path) -> Iterator[str]:
    """Lines as a page shows them: without nano's introduction, temporary folders and long hashes."""
    text = output.replace(str(folder / "home"), _HOME).replace(str(folder / "work"), f"{_HOME}/work")
    text = text.replace(sys.executable, f"{_HOME}/ossctl/.venv/bin/python").replace(
        str(ROOT), f"{_HOME}/ossctl"
    )
    text = re.sub(r"(--resume |\"id\": \")[a-z2-9]{6}\b", r"\1k3m9qx", text)  # a session, as in docs/chat.md
    text = re.sub(r"(?<![^\W_])([0-9a-f]{4})[0-9a-f]{12,}\b", rf"\1{_ELISION}", text)
    lines = [line.rstrip() for line in text.rstrip().splitlines()]
    return without_progress(line for line in lines if not _ASIDE.match(line))


def _matches(shown: Sequence[str], output: Sequence[str], *, exact: bool) -> bool:
    wanted, real = ((lines if exact else tuple(map(_normalised, lines))) for lines in (shown, output))
    parts = [tuple(lines) for elided, lines in groupby(wanted, lambda line: line == _ELISION) if not elided]
    if _ELISION not in wanted:
        return tuple(wanted) == tuple(real)
    position = 0
    for number, part in enumerate(parts):
        last = number == len(parts) - 1 and wanted[-1] != _ELISION
        first = number == 0 and wanted[0] != _ELISION
        places = range(position, position + 1) if first else range(position, len(real) - len(part) + 1)
        if last:
            places = range(max(position, len(real) - len(part)), len(real) - len(part) + 1)
        found = next((place for place in places if tuple(real[place : place + len(part)]) == part), None)
        if found is None:
            return False
        position = found + len(part)
    return True


def _normalised(line: str) -> str:
    """A line without what differs between runs and machines: numbers, units, hashes, bars, plans."""
    line = re.sub("^(on this machine: |plan {2,}).*", r"\1#", line)
    line = re.sub(r"(?<![^\W_])[0-9a-f]{4,}(…|[0-9a-f]{12,}\b)", "#", line)
    line = re.sub(r"[█▓▒░·]{3,}|\[[#.]{10,}\]", "#", line)
    line = re.sub(r"\d[\d,.]*", "#", line)
    line = re.sub(r"# ?(ms|s|min|h|B|kB|MB|GB|KiB|MiB|GiB)\b", "#", line)
    return " ".join(re.sub(r"#([ :-]#)+", "#", line).split())


def _with_old_numbers(shown: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    """`new` with the numbers of `shown`, line by line, where there are as many."""
    merged = list(new)
    for place, (old, line) in enumerate(zip(shown, new, strict=False)):
        numbers, words = _QUANTITY.findall(old), _QUANTITY.split(line)
        if len(words) == len(numbers) + 1:
            merged[place] = "".join(map("".join, zip(words, [*numbers, ""], strict=True)))
    return tuple(merged)
