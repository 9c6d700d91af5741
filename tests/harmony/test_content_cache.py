"""The cache of tokenized message texts, which the prompt and the counter of mentioned files share."""

import sys
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ossctl.harmony import renderer
from ossctl.harmony.layout import HarmonyMessage
from ossctl.harmony.renderer import Renderer
from tests.support.toy_harmony import TOY

CONVERSATIONS = [
    [HarmonyMessage("user", str((start + n) % 20)) for n in range(10)] for start in range(20)
] * 400


@pytest.fixture
def impatient_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_render_at_once(impatient_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderer, "_MAX_CACHED_TOKENS", 10)
    shared = Renderer(TOY, TOY.markers)

    def render_all(used: Renderer) -> list[list[int]]:
        return [used.prompt(messages) for messages in CONVERSATIONS]

    expected = render_all(Renderer(TOY, TOY.markers))
    with ThreadPoolExecutor(4) as threads:
        assert all(prompts == expected for prompts in threads.map(render_all, [shared] * 4))


def test_short_texts_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a text costs besides its tokens counts, as the short messages of a batch have few."""
    monkeypatch.setattr(renderer, "_MAX_CACHED_TOKENS", 50_000)
    used = Renderer(TOY, TOY.markers)
    tracemalloc.start()
    try:
        for number in range(10_000):
            used.prompt([HarmonyMessage("user", str(number))])
        n_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert n_bytes < 500_000
