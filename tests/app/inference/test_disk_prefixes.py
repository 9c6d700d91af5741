"""A model that is loaded again finds on disk what it has computed."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ossctl.app.inference.client import Client
from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.disk_prefixes import default_size
from ossctl.app.inference.generation import Generation
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadOptions, load_model
from ossctl.app.inference.request import GenerationSpec
from ossctl.app.run.serve import LineServer
from ossctl.app.tools.toolbox import Toolbox
from ossctl.app.wire.lines import read_lines
from ossctl.dialect import Conversation, Message
from ossctl.engine import persistence
from ossctl.engine.engine import Engine
from ossctl.engine.request import Generated, Request, Sampling
from ossctl.planning.workload import Purpose, Workload
from ossctl.runtime.base import Tokens
from ossctl.settings import Paths
from ossctl.storage.journal import FilePolicy, OutputFile
from ossctl.storage.prefix_cache import entries
from tests.support.models import smollm2
from tests.support.programs import share_trial
from tests.support.scripted import run
from tests.support.small_models import RECURRENT, small_model

TEXT = "The river runs past the old stone bridge, and the market is on Monday. " * 12
OPTIONS = LoadOptions(ctx=2048, threads=1)


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
        load_model(model, options, Workload(Purpose.INTERACTIVE), interrupt) as loaded,
        Client(loaded, interrupt) as client,
    ):
        for question in questions:
            *_, (_, generation) = client.answers([spec(question)])
            assert isinstance(generation, Generation)
            found.append(generation)
    return found


def logprobs(generation: Generation) -> list[float]:
    return [v for _, each in generation.logprobs for v in (each.logprob, *dict(each.top).values())]


CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)


@pytest.fixture(params=["window", "no window", "qwen35", pytest.param("mamba", marks=pytest.mark.slow)])
def model(request: pytest.FixtureRequest, byte_model_path: Path, tmp_path: Path) -> Path:
    if request.param in RECURRENT:
        return small_model(tmp_path / "model.gguf", request.param, CHAT)
    return byte_model_path if request.param == "window" else smollm2()


def test_another_question_about_a_text_computes_the_question_only(model: Path) -> None:
    questions = ["What runs?", "When is the market?"]
    _, later = answers(model, questions, replace(OPTIONS, cache_bytes=0))
    (first,) = answers(model, questions[:1])
    (again,) = answers(model, questions[1:])
    assert first.cached_tokens == 0
    assert again.cached_tokens > 0.9 * len(again.request.prompt)
    assert again.tokens == later.tokens
    if again.cached_tokens == later.cached_tokens:  # to the last bit, as if the first process had gone on
        assert logprobs(again) == logprobs(later)
    else:  # a window is kept at the end of the text, and in memory two tokens after it
        assert later.cached_tokens - again.cached_tokens <= 2
        assert logprobs(again) == pytest.approx(logprobs(later), abs=0.01)


@pytest.mark.parametrize("changed", [{"kv": "q8_0"}, pytest.param({"parallel": 2}, marks=pytest.mark.slow)])
def test_a_state_of_other_settings_is_not_used(changed: dict[str, object]) -> None:
    answers(smollm2(), ["What runs?"])
    (other,) = answers(smollm2(), ["What runs?"], replace(OPTIONS, **changed))  # type: ignore[arg-type]
    assert other.cached_tokens == 0


def test_nothing_is_kept_without_a_cache(home: Path) -> None:
    answers(smollm2(), ["What runs?"], replace(OPTIONS, cache_bytes=0))
    assert not Paths.from_environment().prefixes.exists()


def test_a_limit_of_the_user_holds_when_the_model_is_closed(home: Path, byte_model_path: Path) -> None:
    answers(byte_model_path, ["What runs?"])
    assert entries(Paths.from_environment().prefixes)
    answers(byte_model_path, ["What runs?"], replace(OPTIONS, cache_bytes=1))
    assert not entries(Paths.from_environment().prefixes)


def test_a_damaged_state_is_computed_again(home: Path) -> None:
    (first,) = answers(smollm2(), ["What runs?"])
    (file,) = Paths.from_environment().prefixes.glob("*.prefix")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    (again,) = answers(smollm2(), ["What runs?"])
    assert again.cached_tokens == 0
    assert logprobs(again) == logprobs(first)


def test_a_cache_that_cannot_be_used_changes_no_answer(byte_model_path: Path) -> None:
    (first,) = answers(byte_model_path, ["What runs?"], replace(OPTIONS, cache_bytes=0))
    folder = Paths.from_environment().prefixes
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("a file, not a folder")
    (again,) = answers(byte_model_path, ["What runs?"])
    assert (again.tokens, again.cached_tokens) == (first.tokens, 0)
    assert logprobs(again) == logprobs(first)


def test_by_default_a_tenth_of_the_free_disk_is_used(home: Path) -> None:
    assert 0 < default_size(home / "not" / "there") <= 32 << 30


def test_what_requests_share_is_on_disk_while_they_run(model: Path) -> None:
    rng = np.random.default_rng(7)
    head = rng.integers(0, 250, 300)
    prompts = [np.concatenate([head, rng.integers(0, 250, 40)]).astype(np.int32) for _ in range(4)]
    options = replace(OPTIONS, parallel=2)
    with Interrupt() as interrupt:
        with load_model(model, options, Workload(Purpose.BATCH), interrupt) as loaded:
            engine = Engine(loaded.runner, loaded.disk)
            for number, prompt in enumerate(prompts[:3]):
                engine.submit(Request(str(number), prompt, 5, Sampling(temperature=0)))
            run(engine)  # and no more: a process that is killed saves nothing at its end
        (entry,) = entries(Paths.from_environment().prefixes)
        assert entry.n_tokens == 300
        with load_model(model, options, Workload(Purpose.BATCH), interrupt) as loaded:
            engine = Engine(loaded.runner, loaded.disk)
            engine.submit(Request("later", prompts[3], 5, Sampling(temperature=0)))
            (*_, last) = run(engine)["later"]
            assert isinstance(last, Generated)
            assert last.cached_tokens == 300


@pytest.mark.parametrize("model", ["window", "qwen35"], indirect=True)
def test_a_turn_in_another_process_continues_from_the_prompt_before_it(model: Path) -> None:
    rng = np.random.default_rng(8)
    first = rng.integers(0, 250, 300, np.int32)
    second = np.concatenate([first, rng.integers(0, 250, 40, np.int32)])  # without the answer to the first
    with Interrupt() as interrupt:

        def answer(prompt: Tokens, options: LoadOptions = OPTIONS) -> Generated:
            sampling = Sampling(temperature=0, logprobs=3)
            request = Request("r", prompt, 1, sampling, conversation="a", persist=True)
            with load_model(model, options, Workload(Purpose.INTERACTIVE), interrupt) as loaded:
                engine = Engine(loaded.runner, loaded.disk)
                engine.submit(request)
                (output,) = run(engine)["r"]
                engine.save(ending=True)
            assert isinstance(output, Generated)
            return output

        answer(first)
        again = answer(second)
        fresh = answer(second, replace(OPTIONS, cache_bytes=0))
    assert (again.cached_tokens, fresh.cached_tokens) == (300, 0)
    assert again.logprob is not None
    assert fresh.logprob is not None
    assert again.logprob.logprob == pytest.approx(fresh.logprob.logprob, abs=0.05)


def test_what_a_line_server_has_read_is_found_by_the_next(model: Path, home: Path) -> None:
    def served(*questions: str) -> list[dict[str, Any]]:
        records = [
            {
                "id": question,
                "messages": [{"role": "system", "content": TEXT}, {"role": "user", "content": question}],
                "max_tokens": 4,
                "temperature": 0,
                "stream": False,
            }
            for question in questions
        ]
        lines = read_lines(io.BytesIO(b"\n".join(json.dumps(record).encode() for record in records)))
        with (
            OutputFile(FilePolicy(home / "out"), overwrite=True) as output,
            output.journal() as journal,
            Interrupt() as interrupt,
            load_model(model, replace(OPTIONS, parallel=2), Workload(Purpose.BATCH), interrupt) as loaded,
        ):
            LineServer(loaded, journal, Defaults(), Toolbox()).run(lines, interrupt)
        events = [json.loads(line) for line in (home / "out").read_text().splitlines()]
        return [event["done"]["usage"] for event in events if "done" in event]

    (first,) = served("What runs past the bridge?")
    (again,) = served("When is the market?")
    assert first["cached_tokens"] == 0
    assert again["prompt_tokens"] - again["cached_tokens"] < 60 < len(TEXT) / 10
