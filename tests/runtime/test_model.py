"""Opening model files: headers, devices, vocabularies, and files that are not what they should be."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter

from ossctl.errors import ModelError
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.devices import DeviceKind, list_devices
from ossctl.runtime.gguf import check_file, read_header
from ossctl.runtime.model import LlamaModel, ModelOptions
from tests.support.models import byte_gpt_oss, smollm2


def test_the_header_tells_metadata_and_every_tensor(byte_model_path: Path) -> None:
    header = read_header(byte_model_path)
    assert header.architecture == "gpt-oss"
    assert header.metadata["gpt-oss.attention.sliding_window"] == 128
    assert header.metadata["gpt-oss.rope.freq_base"] == 150_000.0
    assert header.array_lengths["tokenizer.ggml.tokens"] == 265
    experts = [t for t in header.tensors if t.name == "blk.3.ffn_up_exps.weight"]
    assert [t.n_bytes for t in experts] == [8 * 64 * 64 // 32 * 17]  # MXFP4: 17 bytes for 32 weights
    assert header.n_bytes <= byte_model_path.stat().st_size < header.n_bytes + 32


def test_a_header_alone_can_be_read(byte_model_path: Path, tmp_path: Path) -> None:
    whole = read_header(byte_model_path)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(byte_model_path.read_bytes()[: min(tensor.offset for tensor in whole.tensors)])
    assert read_header(cut) == whole


def holding(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def truncated(path: Path, n_bytes: int) -> Path:
    path.write_bytes(smollm2().read_bytes()[:n_bytes])
    return path


def unknown_architecture(path: Path) -> Path:
    writer = GGUFWriter(str(path), "brainfuse")
    writer.add_block_count(1)
    writer.add_tensor("x", np.zeros(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path, "no model file"),
        (lambda path: path.parent, "is a directory"),
        (lambda path: holding(path, b"hello"), "is not a GGUF file"),
        (lambda path: holding(path, b""), "is not a GGUF file"),
        (lambda path: truncated(path, 100), "is damaged"),
        (lambda path: truncated(path, 500_000), "is damaged"),
        (lambda path: truncated(path, 50_000_000), "is incomplete: 50,000,000 of 98,"),
        (unknown_architecture, "unknown model architecture: 'brainfuse'"),
    ],
    ids=["missing", "directory", "text", "empty", "cut early", "cut in header", "cut in data", "unknown"],
)
def test_a_file_that_cannot_be_loaded_is_a_model_error(
    make: Callable[[Path], Path], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=says):
        LlamaModel(make(tmp_path / "model.gguf"))


def test_flipped_bytes_in_a_header_never_kill_the_process(byte_model_path: Path, tmp_path: Path) -> None:
    original = byte_model_path.read_bytes()
    header_bytes = min(tensor.offset for tensor in read_header(byte_model_path).tensors)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(original)
        for position in rng.integers(4, header_bytes, 3):
            damaged[position] = rng.integers(0, 256)
        path = tmp_path / "damaged.gguf"
        path.write_bytes(damaged)
        try:
            read_header(path)
        except ModelError:
            refused += 1
    assert refused > 0


def test_loading_can_be_stopped() -> None:
    with pytest.raises(ModelError, match="stopped"):
        LlamaModel(smollm2(), keep_going=lambda: False)


def test_a_closed_model_is_a_python_error(byte_model_path: Path) -> None:
    model = LlamaModel(byte_model_path)
    model.close()
    model.close()
    with pytest.raises(ValueError, match="closed"):
        LlamaRunner(model, ContextOptions())


def test_the_cpu_is_among_the_devices_with_its_memory() -> None:
    cpus = [device for device in list_devices() if device.kind is DeviceKind.CPU]
    assert len(cpus) == 1
    assert 0 < cpus[0].free <= cpus[0].total
    assert cpus[0].name == "CPU"
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        assert cpus[0].total == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_special_tokens_are_found_by_type_not_by_number(gpt_oss: LlamaModel, smol: LlamaModel) -> None:
    vocab = gpt_oss.vocab
    assert {vocab.piece(t) for t in vocab.end_ids} == {b"<|return|>", b"<|call|>", b"<|endoftext|>"}
    assert "<|channel|>" in vocab.special_texts
    assert {smol.vocab.piece(t) for t in smol.vocab.end_ids} >= {b"<|im_end|>", b"<|endoftext|>"}


@pytest.mark.parametrize(
    "text",
    ["a" * 100_000, " " * 100_000, "é" * 100_000, "!" * 60_000, "\n" * 60_000, "汉" * 60_000, "a\0b\n" * 10],
    ids=["letters", "blanks", "accents", "marks", "newlines", "han", "nul"],
)
def test_no_text_kills_the_tokenizer_and_it_comes_back_byte_for_byte(gpt_oss: LlamaModel, text: str) -> None:
    ids = gpt_oss.vocab.tokenize(text)
    assert b"".join(map(gpt_oss.vocab.piece, ids)) == text.encode()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, "None"),
    ],
)
def test_threads_spin_briefly_unless_the_environment_says_otherwise(
    given: dict[str, str], found: str
) -> None:
    inherited = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import ossctl.runtime, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={**inherited, **given}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == found


def test_a_chat_template_that_is_not_utf_8_is_read_all_the_same(tmp_path: Path) -> None:
    path = byte_gpt_oss(tmp_path, "{{ messages }}~~")
    path.write_bytes(path.read_bytes().replace(b"}}~~", b"}}\xff\xfe"))
    with LlamaModel(path) as model:
        assert model.chat_template == "{{ messages }}\ufffd\ufffd"


def test_devices_rule_out_the_cpus_layout_of_weights() -> None:
    assert ModelOptions().repacks
    assert ModelOptions(0, ()).repacks
    assert not ModelOptions(0, (), repack=False).repacks
    assert not ModelOptions(-1, ("CUDA0",)).repacks
    assert not ModelOptions(-1, ("CUDA0",), experts_in_ram=(0, 1), repack=True).repacks


def test_a_directory_is_told_where_the_system_only_denies_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(ModelError, match="is a directory, not a model file"):
        check_file(tmp_path)
