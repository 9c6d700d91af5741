"""Sets of questions in the Hugging Face cache, without the hub."""

import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from ossctl.app.eval.inspect.tasks import load_task
from ossctl.app.eval.tasks import NAMED, TaskOptions, TaskSpec
from ossctl.errors import OssctlError

REVISION = "563bb8404243c5f09de6ec262f2db674fe5bce9b"  # the one that inspect-evals pins
AIME = TaskSpec("aime25", next(each for each in NAMED if each.name == "aime25"))

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # Inspect's streams
]


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_what_was_downloaded_elsewhere_is_used(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "hub" / "datasets--math-ai--aime25" / "snapshots" / REVISION
    folder.mkdir(parents=True)
    lines = [{"id": str(n), "problem": f"What is {n} plus 40?", "answer": str(n + 40)} for n in range(3)]
    (folder / "test.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    task = load_task(AIME, TaskOptions())
    assert [sample.target for sample in task.samples] == ["40", "41", "42"]
    assert task.chosen(2, None, 0) == [sample.id for sample in task.samples[:2]]
    assert len(task.chosen(None, 2, 7)) == 2
    assert task.chosen(None, 2, 7) == task.chosen(None, 2, 7)
    assert capfd.readouterr() == ("", "")


def test_what_is_missing_is_said_with_the_command_that_fetches_it() -> None:
    with pytest.raises(OssctlError, match=r"aime25.*math-ai/aime25.*can't be reached") as error:
        load_task(AIME, TaskOptions())
    assert f"hf download --repo-type dataset math-ai/aime25 --revision {REVISION}\n" in error.value.hint
