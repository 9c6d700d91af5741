"""The sizes of mentioned files, which another thread counts."""

from pathlib import Path
from threading import Event

import pytest

from ossctl.repl.mentions import Mentions
from ossctl.repl.toolbar import Part


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Event:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("text")
    return Event()


def failing(path: Path) -> Part:
    raise RecursionError(f"{path.name} is too deep")


def test_an_unexpected_error_is_raised_once_on_the_thread_of_the_prompt(
    counted: Event, capfd: pytest.CaptureFixture[str]
) -> None:
    mentions = Mentions(counted.set)
    mentions.count("see @notes.txt", failing)
    assert counted.wait(10)
    assert [part.text for part in mentions.parts("see @notes.txt")] == ["@notes.txt: ?"]
    with pytest.raises(RecursionError, match="too deep"):
        mentions.count("see @notes.txt", failing)
    mentions.count("see @notes.txt", failing)
    assert capfd.readouterr().err == ""
