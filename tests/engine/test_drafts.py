"""Drafts change the number of decodes, and no answer: every token is sampled as it would be without them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossctl.engine.breakers import Breakers
from ossctl.engine.drafts import DENSE, MIXTURE, DecodeCosts, DraftOptions
from ossctl.engine.engine import Engine
from ossctl.engine.lookup import PromptLookup
from ossctl.engine.request import Failed, Generated, Output, Request, Sampling
from ossctl.guide import GuideFailed, Mask
from ossctl.runtime.base import Chunk, DecodeAborted, Logits
from tests.support.scripted import ScriptedRunner, logits_after, run, tokens_of

N_VOCAB = 50
FIXED = DraftOptions(fixed=True)
COPIED = [7, 3, 9, 1, 4, 8, 2, 6, 5, 11, 13, 12, 17, 19, 14]


@dataclass
class CopyingRunner(ScriptedRunner):
    """Mostly continues as after the last two tokens before, so that answers repeat themselves and prompts."""

    whole: float = 0.4  # weight of what depends on all tokens

    def _row(self, seq: int) -> Logits:
        tokens = self.tokens(seq)
        if tokens[-1] == self.broken_token:
            return np.full(self.n_vocab, np.nan, np.float32)
        earlier = [n for n in range(2, len(tokens)) if tokens[n - 2 : n] == tokens[-2:]]
        row = self.whole * logits_after(tokens, self.n_vocab)
        if earlier:
            row[tokens[earlier[-1]]] += 4
        return row


@dataclass
class Steps:
    """A guide that allows every `step`th token, forces a run at times, and refuses a token at the end."""

    step: int
    run: tuple[int, ...]
    period: int
    fails_at: int
    seen: list[int] = field(default_factory=list)

    def forced(self) -> Sequence[int]:
        at = len(self.seen) % self.period
        return self.run[at:]

    def banned(self) -> Mask | None:
        return None if self.step == 1 else np.arange(N_VOCAB) % self.step != len(self.seen) % self.step

    def accept(self, token: int) -> None:
        if len(self.seen) == self.fails_at:
            raise GuideFailed("planned")
        assert not (forced := self.forced()) or forced[0] == token
        self.seen.append(token)


@st.composite
def samplings(draw: st.DrawFn) -> Sampling:
    return Sampling(
        temperature=draw(st.sampled_from([0.0, 0.3, 1.0])),
        top_k=draw(st.sampled_from([0, 5])),
        top_p=draw(st.sampled_from([1.0, 0.8])),
        seed=draw(st.integers(0, 9)),
        logprobs=draw(st.sampled_from([None, None, 2])),
        frequency_penalty=draw(st.sampled_from([0.0, 0.0, 0.5])),
        repetition_penalty=draw(st.sampled_from([1.0, 1.0, 1.2])),
        min_tokens=draw(st.sampled_from([0, 0, 1])),
        ignore_eos=draw(st.booleans()),
        dry_multiplier=draw(st.sampled_from([0.0, 0.0, 0.8])),
        xtc_probability=draw(st.sampled_from([0.0, 0.0, 0.5])),
        xtc_threshold=0.05,
    )


@dataclass(frozen=True)
class Workload:
    runner: CopyingRunner
    requests: list[Request]
    guides: Sequence[tuple[int, tuple[int, ...], int, int] | None]
    aborts: int  # aborted decodes
    cancelled_after: list[int]  # tokens


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    unified = draw(st.booleans())
    runner = CopyingRunner(
        n_seq=draw(st.integers(1, 4)),
        n_batch=40,
        n_ubatch=draw(st.sampled_from([8, 40])),
        n_rows=draw(st.integers(4, 24)),
        n_ctx_seq=90,
        unified=unified,
        n_cells=draw(st.integers(90, 200)) if unified else 0,
        window=draw(st.sampled_from([0, 0, 20])),
        broken_token=draw(st.sampled_from([-1, 21])),
    )
    requests, guides = [], []
    for n in range(draw(st.integers(1, 6))):
        prompt = COPIED[: draw(st.integers(1, 15))] * draw(st.integers(1, 4))
        prompt += draw(st.lists(st.integers(0, N_VOCAB - 1), max_size=4))
        requests.append(
            Request(
                str(n),
                np.array(prompt, np.int32),
                draw(st.sampled_from([1, 2, 20, 60, 200])),
                draw(samplings()),
                end_ids=frozenset(draw(st.sampled_from([[], [30], [9, 31]]))),
                breakers=Breakers([(2,), (8, 2)]),
                conversation=draw(st.sampled_from(["", "", "a", "b"])),
            )
        )
        guides.append(
            draw(st.sampled_from([None, None, (1, (7, 3, 9), 7, 99), (3, (), 5, 99), (2, (1, 4), 6, 12)]))
        )
    cancelled = draw(st.lists(st.sampled_from([500, 500, 0, 3, 9]), min_size=6, max_size=6))
    return Workload(runner, requests, guides, draw(st.integers(0, 3)), cancelled)


def answers(work: Workload, drafts: DraftOptions | None) -> dict[str, list[Output]]:
    """All outputs by request, of a fresh runner; cancelled requests up to where they were."""
    runner = replace(work.runner, decoded=[])
    engine = Engine(runner, drafts=drafts)
    for request, guide in zip(work.requests, work.guides, strict=True):
        engine.submit(replace(request, guide=Steps(*guide) if guide else None))
    outputs: dict[str, list[Output]] = {request.id: [] for request in work.requests}
    aborts = work.aborts
    for _ in range(10_000):
        if not engine.busy:
            break
        if aborts and len(runner.decoded) % 4 == 2:
            runner.abort_after, aborts = aborts, aborts - 1
        try:
            step = engine.step()
        except DecodeAborted:
            continue
        for output in step:
            outputs[output.id].append(output)
        for name, limit in zip(outputs, work.cancelled_after, strict=False):
            if len(outputs[name]) > limit:
                engine.cancel(name)
    assert not engine.busy
    for name, limit in zip(outputs, work.cancelled_after, strict=False):
        del outputs[name][limit + 1 :]
    return outputs


def content(output: Output) -> object:
    """What does not depend on time and on the number of drafts."""
    if isinstance(output, Generated):
        return output.token, output.logprob, output.finish
    return output.reason if isinstance(output, Failed) else output


@given(workloads(), st.sampled_from([FIXED, DraftOptions(), DraftOptions(3, fixed=True)]))
def test_answers_are_those_without_drafts(work: Workload, drafts: DraftOptions) -> None:
    expected, found = answers(work, None), answers(work, drafts)
    for name in expected:
        assert list(map(content, found[name])) == list(map(content, expected[name]))


def copying(n_tokens: int = 40, **options: object) -> Request:
    """A request whose answer repeats the prompt."""
    return Request("a", np.array(COPIED * 3, np.int32), n_tokens, Sampling(temperature=0), **options)  # type: ignore[arg-type]


def test_copied_tokens_come_in_few_decodes() -> None:
    plain, drafting = (
        CopyingRunner(n_ctx_seq=200, n_batch=60, n_ubatch=60, n_rows=20, whole=0) for _ in "12"
    )
    engines = [Engine(plain), Engine(drafting, drafts=DraftOptions())]
    for name in "abc":  # the first ones compare what is decoded together with what is decoded alone
        earlier = engines[1].stats.steps
        for engine in engines:
            engine.submit(replace(copying(), id=name))
        expected, found = (run(engine)[name] for engine in engines)
        assert tokens_of(found) == tokens_of(expected) == (COPIED * 3)[:40]
    assert len(plain.decoded) == 120
    steps = engines[1].stats.steps - earlier
    assert steps < 12
    last = found[-1]
    assert isinstance(last, Generated)
    assert last.drafted >= last.accepted >= 40 - steps


class InexactRunner(CopyingRunner):
    """Rounds otherwise if a sequence has several tokens: another one becomes the likeliest."""

    def decode(self, chunks: Sequence[Chunk]) -> Logits:
        logits = super().decode(chunks)
        return logits[:, ::-1] if any(chunk.n_drafted for chunk in chunks) else logits


def test_kernels_that_round_otherwise_for_several_tokens_change_no_answer() -> None:
    runner = InexactRunner(n_ctx_seq=200, n_batch=60, n_ubatch=60, n_rows=20, whole=0)
    engine = Engine(runner, drafts=DraftOptions())
    engine.submit(copying())
    assert tokens_of(run(engine)["a"]) == (COPIED * 3)[:40]
    sizes = [len(chunk.tokens) for (chunk,) in runner.decoded if chunk.n_drafted]
    assert sizes == sorted(set(sizes), reverse=True) != []  # each is tried once, and none as large again


@pytest.mark.parametrize(("max_tokens", "longest"), [(1, 0), (2, 0), (3, 1), (10, 8)])
def test_no_draft_is_longer_than_the_answer_may_get(max_tokens: int, longest: int) -> None:
    runner = CopyingRunner(n_ctx_seq=200, n_batch=60, n_ubatch=60, n_rows=20, whole=0)
    engine = Engine(runner, drafts=FIXED)
    engine.submit(copying(max_tokens))
    assert len(tokens_of(run(engine)["a"])) == max_tokens
    assert max(chunk.n_drafted for (chunk,) in runner.decoded) == longest


def test_drafts_end_with_the_context() -> None:
    runner = CopyingRunner(n_ctx_seq=60, n_batch=60, n_ubatch=60, n_rows=20, whole=0)
    engine = Engine(runner, drafts=FIXED)
    engine.submit(copying(500))
    assert len(tokens_of(run(engine)["a"])) == 60 + 1 - 45


def test_a_full_cache_drops_drafts_before_it_preempts_or_fails() -> None:
    runner = CopyingRunner(n_seq=1, n_ctx_seq=100, n_cells=60, n_batch=60, n_ubatch=60, n_rows=20, whole=0)
    engine = Engine(runner, drafts=FIXED)
    engine.submit(copying(16))
    assert tokens_of(run(engine)["a"]) == (COPIED * 2)[:16]
    assert engine.stats.recomputed_tokens == 0


def test_forced_tokens_are_drafts_where_each_has_log_probabilities() -> None:
    run_of = tuple(range(20, 30))
    runner = ScriptedRunner(n_rows=16, n_ubatch=16)
    engine = Engine(runner, drafts=DraftOptions())
    for name in "ab":
        earlier, guide = engine.stats.steps, Steps(1, (1, *run_of), 11, 99)
        sampling = Sampling(temperature=0, logprobs=1)
        engine.submit(Request(name, np.array([5], np.int32), 12, sampling, guide=guide))
        outputs = run(engine)[name]
        assert tokens_of(outputs) == [1, *run_of, 1]
    assert engine.stats.steps - earlier <= 4
    assert engine.stats.accepted_tokens == engine.stats.drafted_tokens > 0
    assert all(isinstance(output, Generated) and output.logprob for output in outputs)


def test_an_isolated_engine_and_one_without_rows_for_them_draft_nothing() -> None:
    for runner, isolated in ((ScriptedRunner(n_rows=20), True), (ScriptedRunner(), False)):
        engine = Engine(runner, isolated=isolated, drafts=FIXED)
        engine.submit(copying(10))
        run(engine)
        assert engine.stats.drafted_tokens == 0


# lookup


def test_the_draft_is_what_followed_the_longest_match() -> None:
    lookup = PromptLookup(np.array([9, 1, 2, 3, 50, 51, 1, 2, 3, 60, 61, 9, 1, 2, 3], np.int32))
    assert lookup.draft(3) == [50, 51, 1]
    lookup.append(50)
    assert lookup.draft(2) == [51, 1]
    lookup.append(77)
    assert lookup.draft(2) == []


def test_of_equal_matches_the_latest_counts() -> None:
    assert PromptLookup(np.array([1, 2, 3, 50, 4, 1, 2, 3, 60, 5, 1, 2, 3], np.int32)).draft(1) == [60]


def test_a_loop_is_continued() -> None:
    assert PromptLookup(np.array([1, 2, 1, 2, 1, 2], np.int32)).draft(5) == [1, 2, 1, 2, 1]


def test_the_hit_rate_is_known_before_the_first_draft_and_follows_the_text() -> None:
    lookup = PromptLookup(np.array(COPIED * 2, np.int32))
    before = lookup.hit_rate
    for token in COPIED:
        lookup.append(token)
    copying_rate = lookup.hit_rate
    for n in range(12):
        for token in (7, 3, 9, 20 + n):
            lookup.append(token)
    assert lookup.hit_rate < before < copying_rate
    assert copying_rate > 0.85


def test_forced_tokens_do_not_count_as_hits() -> None:
    lookup = PromptLookup(np.array(COPIED * 2, np.int32))
    before = lookup.hit_rate
    for token in COPIED:
        lookup.append(token, forced=True)
    assert lookup.hit_rate == before
    assert lookup.draft(2) == COPIED[:2]


# costs


def test_costs_follow_what_decodes_take_here() -> None:
    costs = DecodeCosts(DENSE)
    assert [round(costs(n), 2) for n in (1, 2, 8)] == [1, 1.52, 2.41]
    for _ in range(20):
        costs.measure(1, 0, 0.010)
        costs.measure(8, 7, 0.010 * (1 + 1.41 * 4 * 1.1))  # four times as steep, and a bit
    assert round(costs(8), 2) == round(1 + 1.41 * 4, 2)
    assert costs(33) == float("inf")


def test_what_a_busy_machine_made_expensive_is_tried_again() -> None:
    costs = DecodeCosts(DENSE)
    for _ in range(20):
        costs.measure(1, 0, 0.010)
        costs.measure(8, 7, 1.0)
    for number in range(2000):
        assert costs(8) > 50, number
        costs.measure(1, 0, 0.010)
    assert round(costs(8), 2) == 2.41


def test_a_batch_that_fills_the_machine_is_not_drafted_for() -> None:
    drafted = {}
    for name, costs, unified in (("dense", DENSE, False), ("mixture", MIXTURE, True)):
        runner = CopyingRunner(n_seq=8, n_ctx_seq=200, n_batch=80, n_ubatch=80, n_rows=40, unified=unified)
        runner.whole = 6.0  # copies now and then
        engine = Engine(runner, drafts=DraftOptions(costs=costs))
        for n in range(8):
            engine.submit(replace(copying(), id=str(n)))
        run(engine)
        drafted[name] = engine.stats.drafted_tokens / engine.stats.generated_tokens
    assert drafted["mixture"] < 0.02
    assert drafted["dense"] < 0.02
