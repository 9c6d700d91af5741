"""Changing config files."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ossctl.config.writing import put_table, set_value, unset_value
from ossctl.errors import OssctlError, UsageError

TEXT = """\
# mine
[run] # about run
temperature = 0.5   # warm
top-p = 0.9

# presets
[preset.a]
seed = 1
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path / "home"))
    return tmp_path / "new" / "config.toml"


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def values(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def test_comments_and_order_are_kept(path: Path) -> None:
    written(path, TEXT)
    set_value(path, ("run", "temperature"), 1)
    assert path.read_text() == TEXT.replace("0.5", "1")
    set_value(path, ("run", "temperature"), 0.5)
    set_value(path, ("model", "q.5", "ctx"), 8192)
    assert path.read_text().startswith(TEXT)
    assert values(path)["model"] == {"q.5": {"ctx": 8192}}
    assert unset_value(path, ("model", "q.5", "ctx"))
    assert values(path) == tomllib.loads(TEXT)


def test_a_new_file_is_private(path: Path) -> None:
    set_value(path, ("defaults", "model"), "20b")
    set_value(path, ("trusted",), ["/x"])
    assert values(path) == {"trusted": ["/x"], "defaults": {"model": "20b"}}
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_preset_is_only_replaced_if_that_is_wanted(path: Path) -> None:
    written(path, TEXT)
    put_table(path, ("preset", "b"), {"system": "one\ntwo", "var": {"x": [1]}}, replace=False)
    with pytest.raises(UsageError, match=r"has a section preset\.a"):
        put_table(path, ("preset", "a"), {}, replace=False)
    put_table(path, ("preset", "a"), {"seed": 2}, replace=True)
    assert values(path)["preset"] == {"a": {"seed": 2}, "b": {"system": "one\ntwo", "var": {"x": [1]}}}
    assert "# about run" in path.read_text()


def test_what_is_not_set_cannot_be_unset(path: Path) -> None:
    written(path, TEXT)
    for key in (("run", "seed"), ("batch", "seed"), ("run", "top-p", "x")):
        assert not unset_value(path, key)
    assert path.read_text() == TEXT


def test_windows_newlines_stay(path: Path) -> None:
    written(path, "")
    path.write_bytes(b"[run]\r\na = 1\r\n")
    set_value(path, ("run", "b"), 2)
    assert path.read_bytes() == b"[run]\r\na = 1\r\nb = 2\r\n"


@pytest.mark.parametrize("text", ["x = [", "[run]\n[run]\n"])
def test_a_broken_file_is_left_alone(path: Path, text: str) -> None:
    written(path, text)
    with pytest.raises(UsageError, match=r"config\.toml"):
        set_value(path, ("run", "seed"), 1)
    assert path.read_text() == text


def test_a_value_is_not_taken_for_a_table(path: Path) -> None:
    written(path, "run = 1\n")
    with pytest.raises(UsageError, match="run is not a table"):
        set_value(path, ("run", "seed"), 1)


def test_a_file_that_cannot_be_written_is_an_error(path: Path) -> None:
    path.parent.parent.joinpath("new").write_text("a file")
    with pytest.raises((OssctlError, UsageError), match=r"cannot (read|write)"):
        set_value(path, ("run", "seed"), 1)


WRITER = """
import sys
from pathlib import Path
from ossctl.config.writing import set_value
for number in range(10):
    set_value(Path(sys.argv[1]), ("run", "var", f"{sys.argv[2]}{number}"), number)
"""


def test_two_programs_that_write_lose_nothing(path: Path) -> None:
    running = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in "ab"]
    assert [process.wait(60) for process in running] == [0, 0]
    assert len(values(path)["run"]["var"]) == 20
