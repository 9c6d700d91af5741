"""Reasons and buffers are read from llama.cpp's log, whichever threads it writes on at the same time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ossctl.errors import ModelError
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.gguf import read_header
from ossctl.runtime.log import llama_log
from ossctl.runtime.model import LlamaModel


def broken_file(path: Path, whole: Path) -> Path:
    path.write_bytes(whole.read_bytes()[:5_000])
    return path


def test_a_model_tells_its_buffers_while_other_threads_read_broken_headers(
    byte_model_path: Path, tmp_path: Path
) -> None:
    broken = broken_file(tmp_path / "broken.gguf", byte_model_path)
    done = threading.Event()

    def read() -> int:
        refused = 0
        while not done.is_set():
            with pytest.raises(ModelError, match="is damaged"):
                read_header(broken)
            refused += 1
        return refused

    with LlamaModel(byte_model_path) as model, LlamaRunner(model, ContextOptions()) as runner:
        expected = model.buffers, runner.buffers
    assert all(expected)
    with ThreadPoolExecutor(2) as threads:
        readers = [threads.submit(read) for _ in range(2)]
        try:
            for _ in range(10):
                with LlamaModel(byte_model_path) as model, LlamaRunner(model, ContextOptions()) as runner:
                    assert (model.buffers, runner.buffers) == expected
        finally:
            done.set()
        assert all(reader.result() for reader in readers)


def test_a_reason_belongs_to_the_thread_that_it_was_reported_on(
    byte_model_path: Path, tmp_path: Path
) -> None:
    broken = broken_file(tmp_path / "broken.gguf", byte_model_path)
    with pytest.raises(ModelError):
        read_header(broken)
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(llama_log().reason).result() == ""
    assert llama_log().reason()
