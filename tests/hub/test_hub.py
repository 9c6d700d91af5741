"""What the hub says of a repository, and what it refuses, in words."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from ossctl.errors import ModelError, OssctlError, UsageError
from ossctl.hub.download import fetch
from ossctl.hub.hub import HubModel, find_model
from ossctl.hub.reference import HubReference
from tests.support.hub import Hub, LoginPage, Status

REPO = "org/model-GGUF"
SPLIT = {f"big-Q8_0-0000{n}-of-00003.gguf": bytes(n) for n in (1, 2, 3)}
FILES = {"README.md": b"hi", "small-Q4_K_M.gguf": b"small", "mmproj-f16.gguf": b"eyes", **SPLIT}


def find(text: str, waits: list[float] | None = None) -> HubModel:
    def wait(seconds: float, why: str) -> None:
        assert waits is not None, why
        waits.append(seconds)

    return find_model(HubReference.parse(text), wait)


@pytest.mark.parametrize(
    "selector", [":Q8_0", ":big-Q8_0-00001-of-00003.gguf", ":big-Q8_0-00003-of-00003.gguf"]
)
def test_all_parts_of_a_split_model_belong_to_it(hub: Hub, selector: str) -> None:
    commit = hub.add(REPO, FILES).commit(0)
    model = find(f"hf:{REPO}{selector}")
    assert [file.name for file in model.files] == list(SPLIT)
    assert {file.commit for file in model.files} == {commit}
    assert model.n_bytes == 6
    assert model.licence == "apache-2.0"


def test_a_repository_with_one_model_needs_no_selector(hub: Hub) -> None:
    hub.add(REPO, {"README.md": b"", "only.gguf": b"x", "mmproj-only.gguf": b"y"})
    assert [file.name for file in find(f"hf:{REPO}").files] == ["only.gguf"]


def test_a_revision_is_a_commit_of_the_past(hub: Hub) -> None:
    repository = hub.add(REPO, {"m.gguf": b"old"})
    hub.add(REPO, {"m.gguf": b"newer"})
    assert find(f"hf:{REPO}@{repository.commit(0)}").n_bytes == 3
    assert find(f"hf:{REPO}").n_bytes == 5


@pytest.mark.parametrize(
    ("reference", "error", "says"),
    [
        ("hf:org/missing", ModelError, "there is no public repository org/missing"),
        (f"hf:{REPO}@nowhere", ModelError, "has no revision nowhere"),
        (f"hf:{REPO}:Q2_K", ModelError, "has nothing called Q2_K; it has Q8_0, Q4_K_M"),
        (f"hf:{REPO}", UsageError, "has 2 models: Q8_0, Q4_K_M"),
        ("hf:org/safetensors", ModelError, "has no GGUF files; it holds README.md, model.safetensors"),
        ("hf:org/lacking", ModelError, "lacks m-00002-of-00002.gguf"),
        ("hf:org/plain", ModelError, "gives no hash and size for"),
        ("hf:org/a--b/c", UsageError, "not a reference to a model on the hub"),
        ("hf:only-one-part", UsageError, "not a reference to a model on the hub"),
        ("hf:-bad-/name.", UsageError, "is not the name of a repository"),
    ],
)
def test_what_cannot_be_found_is_said(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, reference: str, error: type[OssctlError], says: str
) -> None:
    hub.add(REPO, FILES)
    hub.add("org/safetensors", {"README.md": b"", "model.safetensors": b""})
    hub.add("org/lacking", {"m-00001-of-00002.gguf": b""})
    monkeypatch.setattr("tests.support.hub._in_lfs", lambda name: name != "plain.gguf")
    hub.add("org/plain", {"plain.gguf": b""})
    with pytest.raises(error) as caught:
        find(reference)
    assert says in caught.value.message


@pytest.mark.parametrize("name", ["../m.gguf", "/m.gguf", "a/../../m.gguf", "c:m.gguf", "a\\\\m.gguf"])
def test_a_name_that_would_leave_the_cache_is_refused(hub: Hub, name: str) -> None:
    hub.add(REPO, {name: b"evil"})
    with pytest.raises(ModelError, match="not safe to store"):
        find(f"hf:{REPO}")


def test_a_warning_of_the_hub_does_not_tear_the_display(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.add(REPO, FILES)
    hub.warning = "auth; You are sending unauthenticated requests"
    find(f"hf:{REPO}:Q8_0")
    assert capsys.readouterr().err == ""


def test_a_gated_repository_says_how_to_get_in(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(REPO, {"m.gguf": b"secret"}, gated=True)
    (file,) = find(f"hf:{REPO}").files
    for token in ("", hub.token):  # 401 without a login, 403 with one that was not let in
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(ModelError, match="is gated") as caught:
            fetch(file, hub_path(monkeypatch), print, lambda *_: None)
        assert f"{hub.url}/{REPO}" in caught.value.hint
        assert "HF_TOKEN" in caught.value.hint


def hub_path(monkeypatch: pytest.MonkeyPatch) -> Path:
    return Path(constants.HF_HUB_CACHE).parent / "part"


def test_a_gated_repository_opens_to_whoever_was_let_in(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(REPO, {"m.gguf": b"secret"}, gated=True, granted=True)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    part = hub_path(monkeypatch)
    fetch(find(f"hf:{REPO}").files[0], part, print, lambda *_: None)
    assert part.read_bytes() == b"secret"


def test_a_wrong_token_is_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(REPO, FILES)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ModelError, match="does not accept your token"):
        find(f"hf:{REPO}:Q8_0")


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_busy_hub_is_asked_again(hub: Hub, code: int) -> None:
    hub.add(REPO, FILES)
    hub.api_faults += [Status(code, retry_after=3), Status(code)]
    waits: list[float] = []
    assert find(f"hf:{REPO}:Q4_K_M", waits).n_bytes == 5
    assert waits == [3.0, 0.5]


def test_a_hub_that_stays_busy_is_said_with_its_reason(hub: Hub) -> None:
    hub.add(REPO, FILES)
    hub.api_faults += [Status(503)] * 20
    with pytest.raises(ModelError, match="cannot serve org/model-GGUF: the server said 503, busy"):
        find(f"hf:{REPO}:Q4_K_M", [])


def test_a_page_that_is_no_hub_is_said(hub: Hub) -> None:
    hub.add(REPO, FILES)
    hub.api_faults += [LoginPage()]
    with pytest.raises(ModelError, match="does not answer as the hub does"):
        find(f"hf:{REPO}:Q4_K_M")


def test_no_network_is_said_within_seconds(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    waits: list[float] = []
    with pytest.raises(ModelError, match=r"cannot reach http://127\.0\.0\.1:9: no connection"):
        find(f"hf:{REPO}", waits)
    assert sum(waits) < 10


def test_offline_mode_is_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        find(f"hf:{REPO}")
