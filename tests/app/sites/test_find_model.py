"""The model of a job, for another machine and there."""

from pathlib import Path

import pytest

from ossctl.app.batch.line_parser import LineParser
from ossctl.app.batch.run import BatchModel
from ossctl.app.inference.defaults import Defaults
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.sites.find_model import find_model, reference_elsewhere
from ossctl.app.sites.site import SiteJob
from ossctl.app.tools.options import ToolOptions
from ossctl.errors import ModelError
from ossctl.planning.workload import Workload


def test_names_stay_and_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert reference_elsewhere("20b") == "20b"
    assert reference_elsewhere("models/a.gguf") == str(tmp_path / "models" / "a.gguf")


def test_a_model_that_is_not_there_is_pulled_only_with_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    model = BatchModel(Path("20b"), LoadOptions())
    job = SiteJob(model, LineParser(Defaults()), Workload(), ToolOptions(), reference="20b")
    with pytest.raises(ModelError, match="it does not have 20b"):
        find_model(job, print)
