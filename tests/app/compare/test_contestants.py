"""Who is compared, and what each is called."""

from pathlib import Path

import pytest

from ossctl.app.compare.contestants import Settings, entrants_of
from ossctl.app.library.references import Given, split_references
from ossctl.app.placement.load_options import ChatTemplate
from ossctl.errors import UsageError

A, B = Given("20b", Path("a.gguf")), Given("hf:org/repo:Q4_K_M", Path("b.gguf"))


def labels(models: list[Given], settings: Settings | None = None) -> list[str]:
    return [entrant.label for entrant in entrants_of(models, settings or Settings())]


def test_models_are_separated_by_commas_unless_a_file_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one, two.gguf").touch()
    assert split_references(["20b,nano", "one, two.gguf,120b"]) == ["20b", "nano", "one, two.gguf", "120b"]
    with pytest.raises(UsageError, match="-m 20b,: the name of a model is empty"):
        split_references(["20b,"])


def test_a_label_names_only_what_differs() -> None:
    assert labels([A, B]) == ["20b", "hf:org/repo:Q4_K_M"]
    assert labels([A], Settings(efforts=["low", "high"])) == ["20b · low", "20b · high"]
    template = ChatTemplate("", Path("x/my.jinja"))
    settings = Settings([None, template], ["low"], ["on", None])
    assert labels([A], settings) == [
        "20b · own template · think on",
        "20b · own template",
        "20b · my.jinja · think on",
        "20b · my.jinja",
    ]


def test_files_are_called_by_their_names_unless_these_are_the_same() -> None:
    one, two, three = (Given(f"{name}.gguf", Path(name)) for name in ("x/one", "x/two", "y/two"))
    assert labels([one, two]) == ["one", "two"]
    assert labels([one, two, three]) == ["one", "x/two.gguf", "y/two.gguf"]


def test_nothing_to_vary_and_the_same_twice_are_refused() -> None:
    with pytest.raises(UsageError, match="there is nothing to compare"):
        labels([A])
    with pytest.raises(UsageError, match="20b is given twice"):
        labels([A, A])
    with pytest.raises(UsageError, match="20b and twenty are the same model"):
        labels([A, Given("twenty", A.path)])


def test_settings_that_a_model_lacks_leave_its_label() -> None:
    low, high = entrants_of([A], Settings(efforts=["low", "high"]))
    assert low.supported(frozenset()).settings == high.supported(frozenset()).settings
    assert low.supported(frozenset()).label == "20b"
    assert low.possible_labels == {"20b", "20b · low"}
