"""A conversation continues in the cache: its next prompt starts where the last one ended."""

import numpy as np
import numpy.typing as npt
import pytest

from ossctl.engine.engine import Engine
from ossctl.engine.request import Prefilled, Request, Sampling
from ossctl.engine.sequence import Slot
from ossctl.runtime.base import DecodeAborted, Snapshot
from tests.support.scripted import ScriptedRunner, expected_answer, run, tokens_of

Ids = npt.NDArray[np.int32]
VOCAB = 50
GREEDY = Sampling(temperature=0)


def ids(n: int, seed: int = 0) -> Ids:
    return np.random.default_rng(seed).integers(0, VOCAB, n, dtype=np.int32)


class Talk:
    """Runs requests on one engine and counts the prompt tokens that it decodes."""

    def __init__(self, **options: int | bool) -> None:
        self.runner = ScriptedRunner(VOCAB, n_ctx_seq=2000, n_batch=64, **options)  # type: ignore[arg-type]
        self.engine = Engine(self.runner)

    def ask(self, prompt: Ids, conversation: str = "", n_tokens: int = 100) -> int:
        """Check the answer; return the prompt tokens that were decoded for it."""
        before = self.engine.stats.prompt_tokens
        self.engine.submit(Request("r", prompt, n_tokens, GREEDY, conversation=conversation))
        got = tokens_of(run(self.engine)["r"])
        assert got == expected_answer(prompt.tolist(), n_tokens, VOCAB)
        return self.engine.stats.prompt_tokens - before

    def begin(self, name: str, prompt: Ids, n_tokens: int) -> None:
        """Submit a request and compute its first batch only."""
        self.engine.submit(Request(name, prompt, n_tokens, GREEDY, conversation="a"))
        self.engine.step()
        assert self.engine.num_computed_tokens(name)

    def prefill(self, prompt: Ids, conversation: str = "", *, checkpoint: bool = True) -> int:
        """Check that the whole prompt is in the cache; return how much of it was decoded."""
        before, decodes = self.engine.stats.prompt_tokens, len(self.runner.decoded)
        request = Request("r", prompt, 0, GREEDY, conversation=conversation, checkpoint=checkpoint)
        self.engine.submit(request)
        (output,) = run(self.engine)["r"]
        decoded = self.engine.stats.prompt_tokens - before
        assert output == Prefilled("r", len(prompt) - decoded)
        assert not any(chunk.wants_logits for batch in self.runner.decoded[decodes:] for chunk in batch)
        assert prompt.tolist() in [self.runner.tokens(seq) for seq in range(self.runner.n_seq)]
        return decoded


def test_a_turn_costs_its_own_tokens_though_the_answer_left_the_window() -> None:
    talk = Talk(n_seq=1, window=8)
    prompt = ids(60)
    assert talk.ask(prompt, "a") == 60
    for turn in range(1, 20):
        new = ids(30, seed=turn)
        prompt = np.concatenate([prompt, new])
        assert talk.ask(prompt, "a") == 30


def test_asking_the_same_again_costs_one_token_where_it_was_long() -> None:
    talk = Talk(n_seq=1, window=8)
    prompt = ids(400)
    talk.ask(prompt, "a")
    assert talk.ask(prompt, "a") == 1
    assert talk.ask(np.concatenate([prompt, ids(20, 1)]), "a") == 20


def test_going_back_some_turns_costs_the_new_tokens_and_far_back_little_more() -> None:
    talk = Talk(n_seq=1, window=8)
    prompts = [ids(20)]
    for turn in range(1, 40):
        prompts.append(np.concatenate([prompts[-1], ids(20, seed=turn)]))
    for prompt in prompts:
        talk.ask(prompt, "a")
    for turns_back in (1, 2, 3):
        assert talk.ask(np.concatenate([prompts[-1 - turns_back], ids(5, seed=99)]), "a") == 5
    assert talk.ask(np.concatenate([prompts[20], ids(5, seed=98)]), "a") <= 5 + 20 * 10


@pytest.mark.parametrize("unified", [False, True])
def test_conversations_keep_their_own_slots_while_others_are_free(unified: bool) -> None:
    talk = Talk(n_seq=3, window=8, unified=unified)
    system = ids(40)
    first, second = (np.concatenate([system, ids(50, seed)]) for seed in (1, 2))
    assert talk.ask(first, "first") == 90
    assert talk.ask(second, "second") <= 90
    assert talk.ask(np.concatenate([first, ids(10, 3)]), "first") == 10
    assert talk.ask(np.concatenate([second, ids(10, 4)]), "second") == 10
    assert talk.ask(np.concatenate([first, ids(10, 3), ids(7, 5)])) <= 7  # no conversation: the third slot
    assert talk.ask(np.concatenate([second, ids(10, 4), ids(9, 6)]), "second") == 9


def test_a_fork_takes_over_what_its_origin_holds() -> None:
    talk = Talk(n_seq=2, window=8, unified=True)
    prompt = ids(80)
    talk.ask(prompt, "origin")
    assert talk.ask(np.concatenate([prompt, ids(10, 1)]), "fork") == 10
    assert talk.ask(np.concatenate([prompt, ids(12, 2)]), "origin") == 12


def test_an_aborted_prefill_continues_where_it_stopped() -> None:
    runner = ScriptedRunner(VOCAB, n_seq=1, n_ctx_seq=500, n_batch=64)
    engine = Engine(runner)
    prompt = ids(200)
    engine.submit(Request("r", prompt, 5, GREEDY, conversation="a"))
    engine.step()
    runner.abort_after = 10
    with pytest.raises(DecodeAborted):
        engine.step()
    assert engine.num_computed_tokens("r") == 74
    assert tokens_of(run(engine)["r"]) == expected_answer(prompt.tolist(), 5, VOCAB)


def test_a_cancelled_prefill_keeps_the_prefix_before_it() -> None:
    talk = Talk(n_seq=1, window=8)
    prompt = ids(60)
    talk.ask(prompt, "a")
    long = np.concatenate([prompt, ids(200, 1)])
    talk.begin("long", long, 5)
    talk.runner.abort_after = 10
    with pytest.raises(DecodeAborted):
        talk.engine.step()
    talk.engine.cancel("long")
    assert talk.ask(np.concatenate([prompt, ids(5, 2)]), "a") == 5
    assert talk.ask(long, "a") == 200


@pytest.mark.parametrize(
    "kind", [{}, {"window": 8}, {"recurrent": True}], ids=["full", "window", "recurrent"]
)
def test_what_was_prefilled_ahead_is_not_computed_again(kind: dict[str, int | bool]) -> None:
    talk = Talk(n_seq=1, **kind)
    prompt = ids(60)
    assert talk.prefill(prompt[:40], "a") == 40
    assert talk.ask(prompt, "a") == 20
    for turn in range(1, 20):
        answered = np.concatenate([prompt, ids(30, seed=turn + 300)])
        assert talk.prefill(answered, "a") == 30
        assert talk.prefill(answered, "a") == 0
        prompt = np.concatenate([answered, ids(10, seed=-turn % 1000)])
        assert talk.ask(prompt, "a") == 10
        if turn % 3 == 0:  # the same again, and another message instead
            assert talk.ask(prompt, "a") <= 10
            assert talk.prefill(answered, "a") == 0
            assert talk.ask(np.concatenate([answered, ids(5, seed=99)]), "a") == 5
            assert talk.ask(prompt, "a") <= 10


def cost_of_going_back(turns: int, *, prefills_ahead: bool, prefills_drafts: bool = False) -> int:
    """Prompt tokens computed to replace the message `turns` turns ago, after forty turns."""
    talk = Talk(n_seq=4, window=8)  # as a chat has them
    ahead = [ids(20)]
    for turn in range(1, 41):
        if prefills_ahead:
            talk.prefill(ahead[-1], "a")
        prompt = np.concatenate([ahead[-1], ids(5, seed=turn)])
        if prefills_drafts:
            for more in (1, 3):
                talk.prefill(prompt[: len(ahead[-1]) + more], "a", checkpoint=False)
        talk.ask(prompt, "a")
        ahead.append(np.concatenate([prompt, ids(15, seed=turn + 100)]))
    if prefills_ahead:
        talk.prefill(ahead[-1], "a")
    return talk.ask(np.concatenate([ahead[-1 - turns], ids(5, seed=99)]), "a")


def test_prefilling_ahead_makes_going_back_no_more_expensive() -> None:
    with_it, without = (
        [cost_of_going_back(turns, prefills_ahead=prefills_ahead) for turns in (2, 5)]
        for prefills_ahead in (True, False)
    )
    assert with_it == [5, 5]  # the message alone
    assert sum(with_it) <= sum(without)
    drafts = [cost_of_going_back(turns, prefills_ahead=True, prefills_drafts=True) for turns in (2, 5)]
    assert drafts == with_it


@pytest.mark.parametrize("n_seq", [1, 3])
def test_a_message_continues_a_prefill_that_is_still_running(n_seq: int) -> None:
    talk = Talk(n_seq=n_seq, window=8)
    talk.ask(ids(100, seed=7), "b")
    prompt = ids(300)
    talk.begin("ahead", prompt[:290], 0)
    assert talk.engine.num_computed_tokens("ahead") == 64
    assert talk.ask(prompt, "a") == 300 - 64
    if n_seq > 1:
        assert talk.ask(np.concatenate([ids(100, seed=7), ids(5, seed=8)]), "b") == 5


@pytest.mark.parametrize("answering", [False, True])
def test_a_recurrent_state_lost_to_an_abort_is_that_of_the_latest_turn(answering: bool) -> None:
    talk = Talk(n_seq=2, recurrent=True)
    prompt = ids(60)
    talk.ask(prompt, "a", n_tokens=1)
    prompt = np.concatenate([prompt, ids(20, 1)])
    talk.begin("r", prompt if answering else np.concatenate([prompt, ids(200, 2)]), 50)
    for _ in range(9 if answering else 0):
        talk.engine.step()
    talk.runner.abort_after = 1
    with pytest.raises(DecodeAborted):
        talk.engine.step()
    assert talk.engine.num_computed_tokens("r") == (80 if answering else 60)
    if answering:
        rest = tokens_of(run(talk.engine)["r"])
        assert rest == expected_answer(prompt.tolist(), 50, VOCAB)[-len(rest) :]
        assert len(rest) == 40
    talk.engine.cancel("r")
    assert talk.ask(np.concatenate([prompt, ids(5, 3)]), "a") == (5 if answering else 25)


def test_a_cancelled_prefill_is_reused_by_prompts_with_its_prefix() -> None:
    talk = Talk(n_seq=1, window=8)
    prompt = ids(60)
    talk.ask(prompt, "a")
    ahead = np.concatenate([prompt, ids(200, 1)])
    talk.begin("ahead", ahead, 0)
    talk.engine.cancel("ahead")
    assert talk.ask(np.concatenate([ahead, ids(10, 2)]), "a") == 200 - 64 + 10


def test_snapshots_are_dense_near_the_end_and_sparse_before() -> None:
    (slot,) = Slot.of(1)
    for n_tokens in range(100, 20_001, 100):
        slot.add_snapshot(Snapshot(n_tokens, b""))
    kept = sorted(slot.snapshots)
    assert len(kept) == 32
    assert kept[-4:] == [19_700, 19_800, 19_900, 20_000]
    assert max(kept[0], *np.diff(kept)) < 20_000 / 5


def test_large_snapshots_are_few() -> None:
    slot, *_ = Slot.of(4)
    for n_tokens in range(100, 2001, 100):
        slot.add_snapshot(Snapshot(n_tokens, bytes(75 << 20)))
    assert max(slot.snapshots) == 2000
    assert len(slot.snapshots) == 3
    slot, *_ = Slot.of(64)
    for n_tokens in (100, 200, 300):
        slot.add_snapshot(Snapshot(n_tokens, bytes(75 << 20)))
    assert sorted(slot.snapshots) == [200, 300]
