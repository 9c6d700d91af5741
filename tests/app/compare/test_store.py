"""The files of a comparison: locked, resumed, and not written to a full disk."""

from pathlib import Path

import pytest

from ossctl.app.compare.results import Comparison, Contestant, Head, Prompt
from ossctl.app.compare.store import NotWritten, Outputs
from ossctl.errors import UsageError


def comparison() -> Comparison:
    prompt = Prompt(id="1", messages=({"role": "user", "content": "Why?"},))
    return Comparison(Head(schema="ossctl.compare/1"), [prompt], [Contestant(label="x", model="x")])


@pytest.mark.parametrize("name", ["out.jsonl", "out.md", "out.html"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_file_has_one_writer_at_a_time(tmp_path: Path, name: str, exists: bool) -> None:
    path = tmp_path / name
    if exists:
        path.touch()
    with Outputs([path]) as first:
        for _ in range(2):
            with pytest.raises(UsageError, match=f"{name} is being written by another program"):
                Outputs([path], resume=True).__enter__()
            first.write(comparison())
    with Outputs([path], overwrite=True):
        assert path.stat().st_size > 0


def test_files_that_were_not_written_are_removed(tmp_path: Path) -> None:
    (tmp_path / "old.md").write_text("old", "utf-8")
    with Outputs([tmp_path / "new.jsonl", tmp_path / "old.md"], overwrite=True):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["old.md"]
    assert (tmp_path / "old.md").read_text("utf-8") == "old"


def test_an_empty_file_is_resumed_as_one_that_has_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.touch()
    assert Outputs([path], resume=True).earlier() == []


def test_the_same_file_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is given twice"):
        Outputs([tmp_path / "a.md", tmp_path / "a.md"]).check()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_a_full_disk_is_reported_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "out.md"
    path.symlink_to("/dev/full")
    with Outputs([path]) as outputs, pytest.raises(NotWritten, match=r"out\.md: No space left"):
        outputs.write(comparison())
