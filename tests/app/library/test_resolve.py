"""The recommended model for a machine."""

from pathlib import Path

import pytest

from ossctl.app.library.resolve import as_hub_reference, hub_reference, is_path, locate, recommended_for
from ossctl.app.placement.machine import hypothetical
from ossctl.errors import ModelError, UsageError
from ossctl.hub.reference import HubReference
from ossctl.planning.cards import nominal
from ossctl.planning.machine import GIB, Machine


@pytest.mark.parametrize(
    ("vram", "ram", "name"),
    [
        ([], 16, "20b"),
        ([], 128, "20b"),
        ([8], 32, "20b"),
        ([16], 32, "20b"),
        ([24], 64, "120b"),
        ([80], 64, "120b"),
        ([], 4, "20b"),
    ],
)
def test_the_largest_model_with_all_layers_on_gpus_is_recommended(
    vram: list[int], ram: int, name: str
) -> None:
    here = Machine((), ram * GIB, ram * GIB, 8, ())
    machine = hypothetical(here, vram=[nominal(size * GIB) for size in vram], ram=ram * GIB)
    assert recommended_for(machine).name == name


REPO = "unsloth/gpt-oss-20b-GGUF"
FILE = "gpt-oss-20b-Q4_K_M.gguf"


@pytest.mark.parametrize(
    ("text", "selector", "revision"),
    [
        (f"hf:{REPO}", "", "main"),
        (REPO, "", "main"),
        (f"{REPO}:Q4_K_M", "Q4_K_M", "main"),
        (f"{REPO}:{FILE}@v1", FILE, "v1"),
        (f"hf.co/{REPO}", "", "main"),
        (f"hf.co/{REPO}:Q4_K_M", "Q4_K_M", "main"),
        (f"huggingface.co/{REPO}", "", "main"),
        (f"https://huggingface.co/{REPO}", "", "main"),
        (f"https://huggingface.co/{REPO}/", "", "main"),
        (f"https://huggingface.co/{REPO}/tree/main", "", "main"),
        (f"https://huggingface.co/{REPO}/tree/refs%2Fpr%2F3", "", "refs/pr/3"),
        (f"https://huggingface.co/{REPO}/blob/main/{FILE}", FILE, "main"),
        (f"https://huggingface.co/{REPO}/resolve/v1/{FILE}?download=true", FILE, "v1"),
        (f"http://www.huggingface.co/{REPO}/blob/main/UD%20Q4/{FILE}#x", f"UD Q4/{FILE}", "main"),
        (f"HTTPS://HF.co/{REPO}/blob/main/README.md", "", "main"),
    ],
)
def test_a_repository_is_known_in_the_forms_that_pages_and_other_programs_show(
    text: str, selector: str, revision: str
) -> None:
    assert hub_reference(text) == HubReference(REPO, selector, revision)
    assert not is_path(text)
    with pytest.raises(ModelError, match=f"hf:{REPO}.* is not on this machine") as caught:
        locate(text)
    assert "ossctl pull" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["models/m.gguf", "./org/repo", "../repo", "/org/repo", "a/b/c", "m.gguf", "https://example.com/org/m.gguf",
     "https://huggingface.co/org", "~/models", "org/repo:", ""],
)  # fmt: skip
def test_other_texts_are_no_repository(text: str) -> None:
    assert as_hub_reference(text) is None


def test_a_path_that_exists_is_not_taken_for_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org").mkdir()
    monkeypatch.chdir(tmp_path)
    assert is_path("org/repo")
    with pytest.raises(UsageError, match="org/repo is a path"):
        hub_reference("org/repo")
