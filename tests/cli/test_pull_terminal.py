"""`ossctl pull` on a terminal: what it shows, and what it asks."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import command, environment
from tests.support.hub import Cut, Hub, Slow, Status
from tests.support.models import enormous

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are POSIX", allow_module_level=True)

import pexpect

DATA = bytes(4_000_000)
ESCAPE = re.compile(r"\x1b\[[?\d;]*[A-Za-z]")


@pytest.fixture
def served() -> Iterator[Hub]:
    with Hub() as hub:
        hub.add("org/model-GGUF", {f"m-0000{n}-of-00002.gguf": DATA[:-n] for n in (1, 2)})
        yield hub


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def pull(hub: Hub, folder: Path, hf_home: Path, **variables: str) -> "pexpect.spawn[str]":
    program, *arguments = command("pull", "hf:org/model-GGUF")
    found = {**hub.variables, "HF_HOME": str(hf_home), "TERM": "xterm-256color", **variables}
    return pexpect.spawn(
        program,
        arguments,
        env=environment(folder, **found),
        cwd=str(folder),
        dimensions=(24, 110),
        encoding="utf-8",
        timeout=30,
    )


def end_of(terminal: "pexpect.spawn[str]") -> tuple[int, str]:
    """The exit code, and all that was written until then."""
    written = terminal.read()
    terminal.close()
    return terminal.exitstatus, written


def test_one_bar_shows_all_shards_with_speed_and_time_left(served: Hub, tmp_path: Path) -> None:
    served.every = Slow(4_000_000)
    code, written = end_of(pull(served, tmp_path, tmp_path / "hf"))
    assert code == 0
    bars = [bar for bar in re.split(r"[\r\n]", ESCAPE.sub("", written)) if "━" in bar]
    assert bars
    assert all("/8.0 MB" in bar and bar.rstrip().endswith("left") for bar in bars)
    assert any(re.search(r"[1-9]\.\d/8\.0 MB ━+.* [1-9]\.\d MB/s .*\d\d:\d\d left", bar) for bar in bars)
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") > 0


def test_retries_are_shown(served: Hub, tmp_path: Path) -> None:
    served.faults += [Cut(1_000_000), Status(503, retry_after=2)]
    terminal = pull(served, tmp_path, tmp_path / "hf")
    terminal.expect("the server returned 503, busy; retrying in 2 s")
    assert end_of(terminal)[0] == 0


def test_it_asks_about_a_model_too_large_for_the_disk_and_no_is_the_default(
    served: Hub, tmp_path: Path, small_disk: Path
) -> None:
    terminal = pull(served, tmp_path, small_disk)
    terminal.expect("It does not fit: .* needs 7.0 MB more disk space.*Fetch it anyway\\? \\[y/N\\]")
    terminal.sendline("")
    code, written = end_of(terminal)
    assert code == 4
    assert "nothing was fetched" in written
    assert served.served == []


def test_a_pull_that_was_confirmed_fills_the_disk_and_says_so(
    served: Hub, tmp_path: Path, small_disk: Path
) -> None:
    terminal = pull(served, tmp_path, small_disk)
    terminal.expect("Fetch it anyway")
    terminal.sendline("y")
    code, written = end_of(terminal)
    assert code == 4
    assert "no space left" in written


def test_no_color_is_honoured(served: Hub, tmp_path: Path) -> None:
    served.every = Slow(8_000_000)
    written = end_of(pull(served, tmp_path, tmp_path / "hf", NO_COLOR="1"))[1]
    assert "━" in written
    assert not re.search(r"\x1b\[[\d;]*[34]\d[\d;]*m", written)


@pytest.mark.parametrize(("answer", "left"), [("", True), ("n", True), ("y", False)])
def test_rm_says_what_it_frees_and_no_is_the_default(
    served: Hub, tmp_path: Path, answer: str, left: bool
) -> None:
    assert end_of(pull(served, tmp_path, tmp_path / "hf"))[0] == 0
    program, *arguments = command("rm", "hf:org/model-GGUF")
    found = environment(tmp_path, **served.variables, HF_HOME=str(tmp_path / "hf"))
    terminal = pexpect.spawn(program, arguments, env=found, cwd=str(tmp_path), encoding="utf-8", timeout=30)
    terminal.expect_exact("Delete it and free 8.0 MB? [y/N]")
    terminal.sendline(answer)
    code, written = end_of(terminal)
    assert code == 0
    assert ("8.0 MB freed" in written) is not left
    assert any((tmp_path / "hf").rglob("*.gguf")) is left


@pytest.mark.parametrize(("answer", "code"), [("n", 4), ("y", 0)])
def test_it_asks_about_a_model_too_large_for_memory(
    served: Hub, tmp_path: Path, answer: str, code: int
) -> None:
    data = enormous(tmp_path / "vast.gguf").read_bytes()
    served.repositories["org/model-GGUF"].commits[0] = {"vast.gguf": data}
    terminal = pull(served, tmp_path, tmp_path / "hf")
    terminal.expect("It does not fit: .* does not fit into .* Fetch it anyway")
    terminal.sendline(answer)
    assert end_of(terminal)[0] == code
    assert bool(served.served) == (code == 0)
