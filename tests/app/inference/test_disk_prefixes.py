"""A model that is loaded again finds on disk what it has computed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ossctl.app.inference.client import Client
from ossctl.app.inference.disk_prefixes import default_size
from ossctl.app.inference.generation import Generation
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadOptions, load_model
from ossctl.app.inference.request import GenerationSpec
from ossctl.dialect import Conversation, Message
from ossctl.engine import persistence
from ossctl.engine.request import Sampling
from ossctl.planning.workload import Purpose, Workload
from ossctl.settings import Paths
from tests.support.models import smollm2
from tests.support.programs import share_trial

TEXT = "The river runs past the old stone bridge, and the market is on Monday. " * 12
OPTIONS = LoadOptions(ctx=1024, threads=2)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    share_trial(tmp_path)
    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path))
    monkeypatch.setattr(persistence, "_MIN_SAVED_SECONDS", 0.0)
    return tmp_path


def spec(question: str) -> GenerationSpec:
    def asking(words: str) -> Conversation:
        return Conversation((Message("user", f"{TEXT}\n\n{words}"),))

    sampling = Sampling(temperature=0, logprobs=3)
    return GenerationSpec(asking(question), 6, (), sampling, similar=asking("…"), persist=True)


def answers(model: Path, questions: Sequence[str], options: LoadOptions = OPTIONS) -> list[Generation]:
    """The answers of one process, one after another."""
    found = []
    with (
        Interrupt() as interrupt,
        load_model(model, options, Workload(Purpose.CHAT), interrupt) as loaded,
        Client(loaded, interrupt) as client,
    ):
        for question in questions:
            *_, (_, generation) = client.answers([spec(question)])
            assert isinstance(generation, Generation)
            found.append(generation)
    return found


def logprobs(generation: Generation) -> list[object]:
    return [generation.tokens, *generation.logprobs]


@pytest.fixture(params=["window", "no window"])
def model(request: pytest.FixtureRequest, byte_model_path: Path) -> Path:
    return byte_model_path if request.param == "window" else smollm2()


def test_another_question_about_a_text_computes_the_question_only(model: Path) -> None:
    first, later = answers(model, ["What runs?", "When is the market?"])
    assert first.cached_tokens == 0
    (again,) = answers(model, ["When is the market?"])
    assert again.cached_tokens == later.cached_tokens
    assert again.cached_tokens > 0.9 * len(again.request.prompt)
    assert logprobs(again) == logprobs(later)  # to the last bit, as in the process that computed it


@pytest.mark.parametrize("changed", [{"kv": "q8_0"}, {"parallel": 2}])
def test_a_state_of_other_settings_is_not_used(model: Path, changed: dict[str, object]) -> None:
    answers(model, ["What runs?"])
    (other,) = answers(model, ["What runs?"], replace(OPTIONS, **changed))  # type: ignore[arg-type]
    assert other.cached_tokens == 0


def test_nothing_is_kept_without_a_cache(home: Path) -> None:
    answers(smollm2(), ["What runs?"], replace(OPTIONS, cache_bytes=0))
    assert not Paths.from_environment().prefixes.exists()


def test_a_damaged_state_is_computed_again(home: Path) -> None:
    (first,) = answers(smollm2(), ["What runs?"])
    (file,) = Paths.from_environment().prefixes.glob("*.prefix")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    (again,) = answers(smollm2(), ["What runs?"])
    assert again.cached_tokens == 0
    assert logprobs(again) == logprobs(first)


def test_by_default_a_tenth_of_the_free_disk_is_used(home: Path) -> None:
    assert 0 < default_size(home / "not" / "there") <= 32 << 30
