"""File names of models: shards, quantisations, what a selector means."""

import pytest

from ossctl.hub.shards import first_names, matching, names_of_model, quantisation_of, shard_of

PARTS = ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"]
QUANTS = ["m-Q4_0.gguf", "m-Q4_K_M.gguf", "sub/m-UD-Q4_K_XL-00001-of-00002.gguf", "M.IQ4_XS.gguf"]


@pytest.mark.parametrize("name", PARTS)
def test_every_part_knows_all_parts(name: str) -> None:
    assert list(names_of_model(name)) == PARTS


@pytest.mark.parametrize("name", ["m.gguf", "m-00002-of-00001.gguf", "m-00000-of-00001.gguf", "m-1-of-2"])
def test_a_name_that_is_no_part_is_a_whole_model(name: str) -> None:
    assert shard_of(name) is None
    assert names_of_model(name) == (name,)


def test_models_are_counted_by_their_first_part_even_if_it_is_missing() -> None:
    assert first_names([*PARTS[1:], "README.md", "b.gguf"]) == ["b.gguf", PARTS[0]]


def test_vision_towers_and_statistics_are_no_models() -> None:
    assert first_names(["m.gguf", "mmproj-m-f16.gguf", "m-imatrix.gguf", "m.imatrix.gguf"]) == ["m.gguf"]


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
