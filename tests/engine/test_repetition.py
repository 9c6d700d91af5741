"""Answers that loop, and answers that only look like it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pytest

from ossctl.engine.engine import Engine
from ossctl.engine.repetition import RepetitionDetector
from ossctl.engine.request import FinishReason, Generated, Output, Request, Sampling
from ossctl.runtime.base import Logits
from tests.support.scripted import ScriptedRunner, run, tokens_of

WORDS = 200_000
LEADS = (0, 1, 15, 700, 5_000)


def random_tokens(count: int, seed: int, n_vocab: int = WORDS) -> list[int]:
    return list(map(int, np.random.default_rng(seed).integers(0, n_vocab, count)))


def caught_after(tokens: Iterable[int]) -> int | None:
    """After how many tokens the detector reports a loop."""
    detector = RepetitionDetector()
    return next((count for count, token in enumerate(tokens, 1) if detector.append(token)), None)


def needed(period: int) -> int:
    """Tokens from which repetition is a loop: four rounds, at least 1,024."""
    return max(1024, 4 * period)


def rounds(period: int) -> int:
    """Rounds of a loop and 128 tokens more."""
    return -(-(needed(period) + 128) // period)


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("period", [1, 2, 7, 31, 100, 255, 257, 500, 1000, 1023, 1024])
def test_a_loop_is_found_within_128_tokens_of_being_one(period: int, lead: int) -> None:
    piece = random_tokens(period, seed=period)
    tokens = random_tokens(lead, seed=9_000 + lead) + piece * rounds(period)
    caught = caught_after(tokens)
    assert caught is not None
    assert needed(period) <= caught - lead < needed(period) + 128


@pytest.mark.parametrize("period", [1, 7, 300, 1024])
def test_a_loop_of_few_different_tokens_is_found(period: int) -> None:
    piece = [*random_tokens(period - 1, seed=3, n_vocab=2), 2]
    caught = caught_after(random_tokens(500, seed=4, n_vocab=2) + piece * rounds(period))
    assert caught is not None
    assert caught < 500 + needed(period) + 128


@pytest.mark.parametrize("n_vocab", [4, 50, 265, WORDS])
@pytest.mark.parametrize("seed", range(5))
def test_random_tokens_are_no_loop(n_vocab: int, seed: int) -> None:
    assert caught_after(random_tokens(8_000, seed, n_vocab)) is None


def as_tokens(text: str) -> list[int]:
    return list(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"{number}. The next item of the list\n" for number in range(1, 400)),
        "".join(f"| {number} | yes | 0 |\n" for number in range(1000)),
        "".join(f"{a} x {b} = {a * b}\n" for a in range(1, 31) for b in range(1, 31)),
        "".join(f"x{number} = 0\n" for number in range(1500)),
        "".join(f"{'ab' * 100}{number}," for number in range(30)),
        "[" + "0, " * 330 + "0]" + " and so on",
    ],
    ids=["list", "table", "multiplication", "assignments", "long items", "short row of zeros"],
)
def test_lists_and_tables_are_no_loops(text: str) -> None:
    assert caught_after(as_tokens(text)) is None


@pytest.mark.parametrize("period", [300, 400, 700, 1000, 1024])
def test_a_piece_that_comes_three_times_is_no_loop(period: int) -> None:
    tokens = random_tokens(500, seed=1) + random_tokens(period, seed=2) * 3 + random_tokens(1500, seed=3)
    assert caught_after(tokens) is None


@pytest.mark.parametrize("period", [1, 2, 7, 100, 250])
def test_many_rounds_of_fewer_than_1024_tokens_are_no_loop(period: int) -> None:
    repeated = (random_tokens(period, seed=2) * 1023)[:1023]
    assert caught_after(random_tokens(500, seed=1) + repeated + random_tokens(1500, seed=3)) is None


@pytest.mark.parametrize("period", [100, 1024])
def test_rounds_with_one_token_changed_are_no_loop(period: int) -> None:
    tokens = random_tokens(period, seed=2) * (20_000 // period)
    for start in range(0, len(tokens), needed(period) - 40):
        tokens[start] = WORDS + start
    assert caught_after(tokens) is None


@pytest.mark.parametrize("period", [1025, 2000])
def test_a_loop_with_a_period_of_more_than_1024_tokens_is_not_detected(period: int) -> None:
    assert caught_after(random_tokens(period, seed=period) * 8) is None


@dataclass
class LoopingRunner(ScriptedRunner):
    """Loops through 0, 1, 2, … if the prompt starts with 0; else as scripted."""

    n_vocab: int = 50
    n_ctx_seq: int = 3000
    period: int = 7

    def _row(self, seq: int) -> Logits:
        tokens = self.tokens(seq)
        if tokens[0] != 0:
            return super()._row(seq)
        row = np.zeros(self.n_vocab, np.float32)
        row[(tokens[-1] + 1) % self.period] = 9
        return row


def request(name: str, prompt: list[int], max_tokens: int) -> Request:
    return Request(name, np.array(prompt, np.int32), max_tokens, Sampling(temperature=0))


def last(outputs: list[Output]) -> Generated:
    assert isinstance(outputs[-1], Generated)
    return outputs[-1]


@pytest.mark.parametrize("period", [1, 2, 7, 50])
def test_the_engine_ends_a_looping_request_with_a_reason_of_its_own(period: int) -> None:
    engine = Engine(LoopingRunner(period=period))
    engine.submit(request("loops", [0], 2000))
    engine.submit(request("continues", [1], 1500))
    outputs = run(engine)
    assert last(outputs["loops"]).finish is FinishReason.REPETITION
    assert len(tokens_of(outputs["loops"])) == 1024
    assert last(outputs["continues"]).finish is FinishReason.LENGTH
    assert len(tokens_of(outputs["continues"])) == 1500


def test_a_looping_prompt_does_not_end_its_answer() -> None:
    engine = Engine(LoopingRunner(n_batch=2000))
    engine.submit(request("a", [0] * 1400, 1000))
    assert last(run(engine)["a"]).finish is FinishReason.LENGTH


def test_a_loop_is_found_across_preemptions() -> None:
    runner = LoopingRunner(n_seq=2, n_batch=64, n_ctx_seq=2000, unified=True, n_cells=2000)
    engine = Engine(runner)
    for name in "ab":
        engine.submit(request(name, [0, ord(name) - ord("a")], 1900))
    outputs = run(engine)
    assert engine.stats.recomputed_tokens > 0
    assert [last(outputs[name]).finish for name in "ab"] == [FinishReason.REPETITION] * 2
    assert [len(tokens_of(outputs[name])) for name in "ab"] == [1024, 1024]


def test_a_loop_that_ends_with_the_token_limit_is_a_loop() -> None:
    engine = Engine(LoopingRunner())
    engine.submit(request("a", [0], 1024))
    assert last(run(engine)["a"]).finish is FinishReason.REPETITION
