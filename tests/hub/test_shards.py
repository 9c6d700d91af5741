"""File names of models: shards, quantisations, selectors."""

import pytest

from ossctl.hub.shards import first_shards, matching, quantisation_of, shard_names, shard_of

PARTS = ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"]
QUANTS = ["m-Q4_0.gguf", "m-Q4_K_M.gguf", "sub/m-UD-Q4_K_XL-00001-of-00002.gguf", "M.IQ4_XS.gguf"]


@pytest.mark.parametrize("name", PARTS)
def test_any_shard_gives_the_names_of_all(name: str) -> None:
    assert list(shard_names(name)) == PARTS


@pytest.mark.parametrize("name", ["m.gguf", "m-00002-of-00001.gguf", "m-00000-of-00001.gguf", "m-1-of-2"])
def test_other_names_are_whole_models(name: str) -> None:
    assert shard_of(name) is None
    assert shard_names(name) == (name,)


def test_models_are_listed_by_their_first_shard_even_if_it_is_missing() -> None:
    assert first_shards([*PARTS[1:], "README.md", "b.gguf"]) == ["b.gguf", PARTS[0]]


def test_projectors_and_importance_matrices_are_not_models() -> None:
    assert first_shards(["m.gguf", "mmproj-m-f16.gguf", "m-imatrix.gguf", "m.imatrix.gguf"]) == ["m.gguf"]


@pytest.mark.parametrize(
    ("drafter", "model"),
    [
        ("mtp-gemma-4-E4B-it.gguf", "gemma-4-E4B-it-Q4_K_XL.gguf"),
        ("MTP/gemma-MTP-Q8_0.gguf", "gemma-Q4_K_XL.gguf"),
        ("gemma-MTP-Q8_0.gguf", "gemma-Q4_K_XL.gguf"),
        ("gpt-oss-20b-eagle3-F16.gguf", "gpt-oss-20b-mxfp4.gguf"),
        ("draft/Qwen3-0.6B-Q8_0.gguf", "Qwen3-32B-Q8_0.gguf"),
        ("Qwen3-32B-draft-Q8_0.gguf", "Qwen3-32B-Q4_K_M-00001-of-00002.gguf"),
        ("org/repo/Qwen3-Drafter.gguf", "org/repo/Qwen3-Q8_0.gguf"),
    ],
)
def test_a_drafter_is_not_a_model(drafter: str, model: str) -> None:
    assert first_shards([drafter, model]) == [model]


@pytest.mark.parametrize(
    "names",
    [
        ["Qwen3.6-MTP-Q4_K_M.gguf", "Qwen3.6-MTP-Q8_0.gguf"],  # models with a drafter inside
        ["Qwen3-DRAFT-0.6B.gguf"],
        ["a/Qwen3.6-MTP-Q8_0.gguf", "b/SmolLM2.gguf"],
        ["rwkv-5-eagle-7b.gguf", "drafting-table.gguf", "smtp.gguf"],
    ],
)
def test_a_model_alone_may_be_named_like_a_drafter(names: list[str]) -> None:
    assert first_shards(names) == sorted(names)


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("Q4_K_M", ["m-Q4_K_M.gguf"]),
        ("q4_k_m", ["m-Q4_K_M.gguf"]),
        ("Q4_0", ["m-Q4_0.gguf"]),
        ("Q4", []),
        ("UD-Q4_K_XL", ["sub/m-UD-Q4_K_XL-00001-of-00002.gguf"]),
        ("IQ4_XS", ["M.IQ4_XS.gguf"]),
        ("m-Q4_0.gguf", ["m-Q4_0.gguf"]),
        ("m-UD-Q4_K_XL-00002-of-00002.gguf", ["sub/m-UD-Q4_K_XL-00001-of-00002.gguf"]),
        ("sub/m-UD-Q4_K_XL-00001-of-00002.gguf", ["sub/m-UD-Q4_K_XL-00001-of-00002.gguf"]),
        ("x.gguf", []),
    ],
)
def test_a_selector_is_a_file_name_or_a_quantisation(selector: str, found: list[str]) -> None:
    assert matching(QUANTS, selector) == found


@pytest.mark.parametrize(
    ("name", "quantisation"),
    [
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("gpt-oss-20b-Q4_K_M.gguf", "Q4_K_M"),
        ("x/SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"),
        ("gpt-oss-120b-F16.gguf", "F16"),
        ("m-IQ2_XXS-00001-of-00002.gguf", "IQ2_XXS"),
        ("Qwen3-30B.gguf", ""),
    ],
)
def test_the_quantisation_is_read_from_the_name(name: str, quantisation: str) -> None:
    assert quantisation_of(name) == quantisation
