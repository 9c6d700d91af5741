"""Attention is timed with any number of threads, and as often as a fast machine does it in its time."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import pytest

from ossctl.runtime import attention


@pytest.mark.parametrize("flash", [True, False])
@pytest.mark.parametrize(("n_tokens", "n_threads"), [(1, 32), (256, 16)])
def test_repeating_a_measurement_takes_no_more_memory(
    monkeypatch: pytest.MonkeyPatch, n_tokens: int, n_threads: int, *, flash: bool
) -> None:
    def often(work: Callable[[], Any]) -> float:
        started = perf_counter()
        codes = {work() for _ in range(60)}
        assert codes == {0}  # GGML_STATUS_SUCCESS
        return perf_counter() - started

    monkeypatch.setattr(attention, "_fastest", often)
    assert 0 < attention.attention_seconds(n_tokens, n_threads, flash=flash) < 1
