"""Names of models, and references to the hub."""

import re

import pytest

from ossctl.errors import UsageError
from ossctl.hub.catalogue import Entry, catalogue
from ossctl.hub.download import MAX_FILE_BYTES
from ossctl.hub.reference import HubReference
from ossctl.hub.shards import shard_names

ENTRIES = list(catalogue().entries)


def meant(name: str) -> Entry:
    entry = catalogue().find(name)
    assert entry is not None
    return entry


@pytest.mark.parametrize(
    ("name", "repo", "file"),
    [
        ("20b", "ggml-org/gpt-oss-20b-GGUF", "MXFP4"),
        ("gpt-oss-20b", "ggml-org/gpt-oss-20b-GGUF", "MXFP4"),
        ("GPT-OSS-20B:MXFP4", "ggml-org/gpt-oss-20b-GGUF", "MXFP4"),
        ("20b:q4_k_m", "unsloth/gpt-oss-20b-GGUF", "gpt-oss-20b-Q4_K_M.gguf"),
        ("120b", "ggml-org/gpt-oss-120b-GGUF", "MXFP4"),
    ],
)
def test_a_name_resolves_to_a_file_of_a_repository(name: str, repo: str, file: str) -> None:
    assert meant(name).variant.reference == HubReference(repo, file)


@pytest.mark.parametrize("name", ["20b", "120b"])
def test_the_original_weights_are_pinned_with_hashes(name: str) -> None:
    variant = meant(name).variant
    assert re.fullmatch("[0-9a-f]{40}", variant.revision)
    assert catalogue().is_pinned(variant.pinned)
    assert all(re.fullmatch("[0-9a-f]{64}", file.sha256) for file in (*variant.files, *variant.others))
    assert all(file.n_bytes <= MAX_FILE_BYTES for file in variant.files)
    assert all(variant.reference.selects(file.name) for file in (variant.files[0], *variant.others))


@pytest.mark.parametrize("name", ["20", "20b:", "20b:q9", "gpt-oss", "", ":", "nano"])
def test_unknown_names_resolve_to_nothing(name: str) -> None:
    entry = catalogue().find(name)
    assert entry is None or (name == "20b:" and entry.name == "20b")


@pytest.mark.parametrize(
    ("wrong", "first"),
    [
        ("20bb", "20b"),
        ("gtp-oss-20b", "gpt-oss-20b"),
        ("120", "120b"),
        ("20b:q4_k_s", "20b:q4_k_m"),
        ("qwen3-30", "qwen3-30b"),
    ],
)
def test_a_misspelt_name_finds_the_nearest(wrong: str, first: str) -> None:
    assert catalogue().nearest(wrong)[0] == first


def test_nonsense_has_no_similar_name() -> None:
    assert catalogue().nearest("xylophone!!") == []


def test_names_are_unique() -> None:
    names = [name for model in catalogue().models for name in (model.name, *model.aliases)]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and ":" not in name and "." not in name for name in names)
    assert [meant(entry.name) for entry in ENTRIES] == ENTRIES


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_entry_is_consistent(entry: Entry) -> None:
    variant = entry.variant
    assert HubReference.parse(str(variant.reference)) == variant.reference
    assert entry.model.licence
    assert 0 < entry.model.active <= entry.model.total
    assert entry.model.context >= 32_768
    assert entry.model.thinking
    assert entry.model.about.endswith(".")
    for file in variant.files:
        assert file.n_bytes > 0
        assert re.fullmatch("[0-9a-f]{64}|", file.sha256)
    if variant.files:
        first = variant.files[0].name
        assert tuple(file.name for file in variant.files) == shard_names(first)
        assert variant.reference.selects(first)
        assert round(sum(file.n_bytes for file in variant.files) / 1e9, 1) == variant.gigabytes
        assert catalogue().name_of(variant.reference.repo, first) == entry.name


def test_the_original_weights_can_be_verified_offline() -> None:
    for name in ("20b", "120b"):
        assert all(file.sha256 for file in meant(name).variant.files)
    assert catalogue().find_by_hash("") is None
    assert catalogue().find_by_hash(meant("120b").variant.files[2].sha256) == meant("120b")


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("hf:org/repo", HubReference("org/repo")),
        ("hf:org/repo:Q4_K_M", HubReference("org/repo", "Q4_K_M")),
        ("hf:org/repo:sub/m-Q8_0.gguf", HubReference("org/repo", "sub/m-Q8_0.gguf")),
        ("hf:org/repo@v1.0", HubReference("org/repo", "", "v1.0")),
        ("hf:org/repo:Q8_0@refs/pr/1", HubReference("org/repo", "Q8_0", "refs/pr/1")),
    ],
)
def test_a_reference_round_trips(text: str, reference: HubReference) -> None:
    assert HubReference.parse(text) == reference
    assert str(reference) == text


@pytest.mark.parametrize(
    "text",
    ["hf:", "hf:repo", "hf:a/b/c", "hf:a/b:", "hf:a/b@", "hf:a/b:x:y", "hf:a/b c", "hf: a/b", "hf:ä/b"],
)
def test_an_invalid_reference_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match="is not a valid reference to a model on the hub"):
        HubReference.parse(text)
