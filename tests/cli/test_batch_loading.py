"""`ossctl batch` and the options that place its model."""

from pathlib import Path

import pytest

from tests.support.command import ossctl, small_model, write_jsonl
from tests.support.models import smollm2


def test_a_batch_keeps_the_loading_options_that_are_given(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", {"prompt": "Hi.", "max_tokens": 4, "temperature": 0})
    options = ("--kv", "q8_0", "--ubatch", 64, "--gpu-layers", 0, "-v")
    result = ossctl("batch", source, "-o", "out.jsonl", *small_model(), *options, cwd=tmp_path)
    assert result.code == 0, result.stderr
    assert "RAM: predicted" in result.stderr


def test_an_unknown_device_is_exit_code_2(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", {"prompt": "Hi."})
    result = ossctl("batch", source, *small_model(), "--device", "CUDA9", cwd=tmp_path)
    assert result.code == 2
    assert "no device CUDA9" in result.stderr


def test_a_batch_that_cannot_fit_is_refused_before_loading(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", {"prompt": "Hi."})
    result = ossctl("batch", source, "-m", smollm2(), "--parallel", 256, "--ctx", "max", cwd=tmp_path)
    if result.code == 0:
        pytest.skip("this machine holds even that")
    assert result.code == 5
    assert "does not fit into" in result.said[0]
    assert "It fits with --" in result.said[1]
