"""The engine with guides: forced tokens, banned tokens, failures, and schemas over a real model."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossctl.app.inference.engine_thread import EngineThread
from ossctl.app.inference.generation import Generation
from ossctl.dialect import Conversation, JsonFormat, Message, Tool, ToolCall, ToolChoice
from ossctl.engine.engine import Engine
from ossctl.engine.grammar import JsonGrammars
from ossctl.engine.request import Failed, FinishReason, Generated, Output, Request, Sampling
from ossctl.guide import GuideFailed, Ids, Mask
from ossctl.harmony.dialect import HarmonyDialect
from ossctl.runtime.base import DecodeFailed
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel
from tests.support.scripted import ScriptedRunner, logits_after, run, tokens_of
from tests.support.toy_harmony import TOY

GREEDY = Sampling(temperature=0)
N_VOCAB = 50


@dataclass
class Plan:
    """Forces `runs[n]` after n tokens; elsewhere, token n has to be n modulo `step`. Records all tokens.

    The method named `fails` raises once there are `after` tokens.
    """

    runs: Mapping[int, Sequence[int]] = field(default_factory=dict)
    step: int = 1
    fails: str = ""
    after: int = 0
    as_ids: bool = False
    seen: list[int] = field(default_factory=list)
    _queue: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._begin()

    def forced(self) -> Sequence[int]:
        self._fail("forced")
        return tuple(self._queue)

    def banned(self) -> Mask | Ids | None:
        self._fail("banned")
        assert not self._queue, "nothing is sampled while tokens are forced"
        return banned_after(len(self.seen), self.step, as_ids=self.as_ids)

    def accept(self, token: int) -> None:
        self._fail("accept")
        if self._queue:
            assert token == self._queue.pop(0)
        self.seen.append(token)
        if not self._queue:
            self._begin()

    def _begin(self) -> None:
        self._queue = list(self.runs.get(len(self.seen), ()))

    def _fail(self, method: str) -> None:
        if method == self.fails and len(self.seen) >= self.after:
            raise GuideFailed(f"planned in {method}")


def banned_after(count: int, step: int, *, as_ids: bool = False) -> Mask | Ids | None:
    """All tokens but those that are `count` modulo `step`."""
    if step == 1:
        return None
    mask = np.arange(N_VOCAB) % step != count % step
    return np.flatnonzero(mask) if as_ids else mask


def alone(prompt: Sequence[int], n_tokens: int, plan: Plan) -> list[int]:
    """Greedy decoding under the plan, one token at a time."""
    answer: list[int] = []
    while len(answer) < n_tokens:
        if run_of := plan.runs.get(len(answer)):
            answer += run_of
        else:
            row = logits_after([*prompt, *answer], N_VOCAB)
            if (banned := banned_after(len(answer), plan.step)) is not None:
                row[banned] = -np.inf
            answer.append(int(row.argmax()))
    return answer[:n_tokens]


def request(
    name: str, prompt: Sequence[int], guide: Plan | None, n_tokens: int = 12, sampling: Sampling = GREEDY
) -> Request:
    return Request(name, np.array(prompt, np.int32), n_tokens, sampling, guide=guide)


def finish_of(outputs: Sequence[Output]) -> FinishReason | None:
    assert isinstance(outputs[-1], Generated)
    return outputs[-1].finish


# forced tokens


def test_forced_tokens_come_in_one_step_and_are_computed_together_with_the_next() -> None:
    runner = ScriptedRunner()
    engine = Engine(runner)
    engine.submit(request("a", [1, 2, 3], Plan({2: (7, 8, 9)}), 8))
    steps = [tokens_of(engine.step()) for _ in range(5)]
    assert [len(tokens) for tokens in steps] == [1, 4, 1, 1, 1]
    assert steps[1][1:] == [7, 8, 9]
    assert [len(chunk.tokens) for (chunk,) in runner.decoded] == [3, 1, 4, 1, 1]
    assert not engine.busy


def test_an_answer_can_begin_with_forced_tokens() -> None:
    engine = Engine(ScriptedRunner())
    plan = Plan({0: (7, 8, 9)})
    engine.submit(request("a", [1, 2, 3], plan))
    assert tokens_of(engine.step()) == [7, 8, 9]
    assert [7, 8, 9, *tokens_of(run(engine)["a"])] == alone([1, 2, 3], 12, plan)


def test_runs_that_follow_each_other_come_in_one_step() -> None:
    engine = Engine(ScriptedRunner())
    engine.submit(request("a", [1, 2, 3], Plan({1: (7, 8), 3: (9,), 4: (10, 11)})))
    assert tokens_of(engine.step())[1:] == [7, 8, 9, 10, 11]


@pytest.mark.parametrize("step", [1, 3])
def test_with_log_probabilities_forced_tokens_are_computed_one_by_one_to_the_same_answer(step: int) -> None:
    runner = ScriptedRunner()
    engine = Engine(runner)
    plan = Plan({0: (7, 8), 4: (7, 8, 9), 9: (1,)}, step)
    engine.submit(request("a", [1, 2, 3], plan, sampling=Sampling(temperature=0, logprobs=2)))
    outputs = run(engine)["a"]
    assert tokens_of(outputs) == alone([1, 2, 3], 12, plan)
    assert len(runner.decoded) == 12
    assert all(output.logprob for output in outputs if isinstance(output, Generated))


@pytest.mark.parametrize("seed", range(5))
def test_log_probabilities_change_no_sampled_answer(seed: int) -> None:
    answers = []
    for logprobs in (None, 0):
        engine = Engine(ScriptedRunner())
        sampling = Sampling(seed=seed, logprobs=logprobs)
        engine.submit(request("a", [1, 2, 3], Plan({0: (7, 8), 4: (7, 8, 9)}), sampling=sampling))
        answers.append(tokens_of(run(engine)["a"]))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("n_tokens", range(1, 9))
def test_a_token_limit_inside_a_forced_run_ends_the_answer_there(n_tokens: int) -> None:
    engine = Engine(ScriptedRunner())
    plan = Plan({2: (7, 8, 9, 10)})
    engine.submit(request("a", [1, 2, 3], plan, n_tokens))
    outputs = run(engine)["a"]
    assert tokens_of(outputs) == alone([1, 2, 3], n_tokens, plan)
    assert finish_of(outputs) is FinishReason.LENGTH
    assert [output.finish for output in outputs[:-1] if isinstance(output, Generated)] == [None] * (
        n_tokens - 1
    )


def test_the_context_bounds_a_forced_run() -> None:
    engine = Engine(ScriptedRunner(n_ctx_seq=20))
    plan = Plan({2: range(30)})
    engine.submit(request("a", list(range(12)), plan, 1000))
    assert tokens_of(run(engine)["a"]) == alone(range(12), 9, plan)


def test_an_end_token_inside_a_forced_run_ends_the_answer() -> None:
    engine = Engine(ScriptedRunner())
    plan = Plan({2: (7, 8, 9)})
    engine.submit(Request("a", np.array([1, 2], np.int32), 50, GREEDY, frozenset([8]), plan))
    outputs = run(engine)["a"]
    assert tokens_of(outputs)[2:] == [7, 8]
    assert finish_of(outputs) is FinishReason.STOP


@pytest.mark.parametrize("n_batch", [4, 5, 7, 16])
def test_a_forced_run_longer_than_a_batch_is_computed_in_pieces(n_batch: int) -> None:
    runner = ScriptedRunner(n_batch=n_batch)
    engine = Engine(runner)
    plans = [Plan({1 + n: [n + 1] * (20 + n)}) for n in range(4)]
    for number, plan in enumerate(plans):
        engine.submit(request(str(number), [number, 2, 3], plan, 40))
    outputs = run(engine)
    for number, plan in enumerate(plans):
        assert tokens_of(outputs[str(number)]) == alone([number, 2, 3], 40, plan)


def test_a_long_forced_run_does_not_delay_others() -> None:
    runner = ScriptedRunner(n_batch=4)
    engine = Engine(runner)
    engine.submit(request("free", [5, 6], None, 30))
    engine.submit(request("forced", [1, 2], Plan({1: [3] * 40}), 60))
    arrived = [{output.id for output in engine.step()} for _ in range(15)]
    assert all("free" in names for names in arrived)


@st.composite
def workloads(draw: st.DrawFn) -> tuple[ScriptedRunner, list[tuple[list[int], int, Plan]]]:
    unified = draw(st.booleans())
    runner = ScriptedRunner(
        n_seq=draw(st.integers(1, 5)),
        n_batch=draw(st.integers(5, 40)),
        n_ctx_seq=90,
        unified=unified,
        n_cells=draw(st.integers(90, 200)) if unified else 0,
        window=draw(st.sampled_from([0, 0, 20])),
    )
    tokens = st.integers(0, N_VOCAB - 1)
    runs = st.dictionaries(st.integers(0, 25), st.lists(tokens, min_size=1, max_size=25), max_size=4)
    work = []
    for _ in range(draw(st.integers(1, 10))):
        plan = Plan(draw(runs), draw(st.integers(1, 4)), as_ids=draw(st.booleans()))
        work.append((draw(st.lists(tokens, min_size=1, max_size=30)), draw(st.integers(1, 40)), plan))
    return runner, work


@given(workloads())
def test_every_guided_request_gets_the_answer_it_would_get_alone(
    workload: tuple[ScriptedRunner, list[tuple[list[int], int, Plan]]],
) -> None:
    runner, work = workload
    engine = Engine(runner)
    for number, (prompt, n_tokens, plan) in enumerate(work):
        engine.submit(request(str(number), prompt, plan, n_tokens))
    outputs = run(engine)
    for number, (prompt, n_tokens, plan) in enumerate(work):
        expected = alone(prompt, n_tokens, plan)
        assert tokens_of(outputs[str(number)]) == expected
        assert plan.seen in (expected, expected[:-1])  # the last one need not be accepted


def test_a_preempted_request_continues_with_its_guide() -> None:
    runner = ScriptedRunner(n_seq=3, n_batch=64, n_ctx_seq=60, unified=True, n_cells=60)
    engine = Engine(runner)
    plans = [Plan({n: [n] * 10 for n in (3, 20, 35)}, step=2) for _ in range(6)]
    for number, plan in enumerate(plans):
        engine.submit(request(str(number), [number] * 10, plan, 45))
    outputs = run(engine)
    assert engine.stats.recomputed_tokens > 0
    for number, plan in enumerate(plans):
        assert tokens_of(outputs[str(number)]) == alone([number] * 10, 45, plan)


def test_a_failed_decode_after_a_forced_run_loses_nothing() -> None:
    runner = ScriptedRunner()
    engine = Engine(runner)
    plan = Plan({2: (7, 8, 9)}, step=2)
    engine.submit(request("a", [1, 2, 3], plan))
    first = [token for _ in range(2) for token in tokens_of(engine.step())]
    runner.fail_next = True
    with pytest.raises(DecodeFailed):
        engine.step()
    assert first + tokens_of(run(engine)["a"]) == alone([1, 2, 3], 12, plan)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_cancelling_around_a_forced_run_leaves_the_others_alone(steps: int) -> None:
    runner = ScriptedRunner(n_batch=8)
    engine = Engine(runner)
    for name in ("victim", "other"):
        engine.submit(request(name, [3, 2, 1], Plan({2: [7] * 20}), 30))
    before = [output for _ in range(steps) for output in engine.step() if output.id == "other"]
    assert engine.cancel("victim")
    outputs = run(engine)
    assert outputs.keys() == {"other"}
    assert tokens_of([*before, *outputs["other"]]) == alone([3, 2, 1], 30, Plan({2: [7] * 20}))


# banned tokens


@pytest.mark.parametrize("as_ids", [False, True], ids=["mask", "ids"])
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=0),
        Sampling(temperature=3),
        Sampling(top_k=3),
        Sampling(top_k=40),
        Sampling(top_p=0.9),
        Sampling(min_p=0.1),
        Sampling(logit_bias=dict.fromkeys(range(N_VOCAB), 100.0)),
        Sampling(logprobs=3),
    ],
    ids=["plain", "greedy", "hot", "top_k=3", "top_k=40", "top_p", "min_p", "bias", "logprobs"],
)
def test_a_banned_token_is_never_sampled(sampling: Sampling, as_ids: bool) -> None:
    engine = Engine(ScriptedRunner(n_seq=4))
    for number in range(12):
        plan = Plan(step=17, as_ids=as_ids)
        engine.submit(
            request(str(number), [number, 3], plan, 40, Sampling(**{**vars(sampling), "seed": number}))
        )
    for outputs in run(engine).values():
        assert [token % 17 for token in tokens_of(outputs)] == [n % 17 for n in range(40)]


def test_a_guide_that_leaves_no_token_ends_its_request_alone() -> None:
    class Nothing(Plan):
        def banned(self) -> Mask:
            return np.full(N_VOCAB, len(self.seen) >= 2)

    engine = Engine(ScriptedRunner())
    engine.submit(request("stuck", [1, 2], Nothing()))
    engine.submit(request("whole", [1, 2], Plan()))
    outputs = run(engine)
    assert [type(output) for output in outputs["stuck"]] == [Generated, Generated, Failed]
    assert tokens_of(outputs["whole"]) == alone([1, 2], 12, Plan())


# guides that fail


@pytest.mark.parametrize("logprobs", [None, 0])
@pytest.mark.parametrize("after", [0, 1, 3, 5])
@pytest.mark.parametrize("method", ["accept", "forced", "banned"])
def test_a_guide_that_fails_ends_its_request_alone(method: str, after: int, logprobs: int | None) -> None:
    engine = Engine(ScriptedRunner())
    sampling = Sampling(temperature=0, logprobs=logprobs)
    plan = Plan({2: (7, 8)}, fails=method, after=after)
    engine.submit(request("fails", [1, 2, 3], plan, sampling=sampling))
    engine.submit(request("whole", [3, 2, 1], Plan({2: (7, 8)}), sampling=sampling))
    outputs = run(engine)
    *answer, failure = outputs["fails"]
    assert failure == Failed("fails", f"planned in {method}")
    assert tokens_of(answer) == alone([1, 2, 3], 12, plan)[: len(answer)]
    whole_run = method == "banned" or (method == "forced" and logprobs is None)
    assert len(answer) == (4 if after == 3 and whole_run else after)
    assert tokens_of(outputs["whole"]) == alone([3, 2, 1], 12, Plan({2: (7, 8)}))


def test_the_slot_of_a_request_whose_guide_failed_is_free_again() -> None:
    engine = Engine(ScriptedRunner(n_seq=1))
    for number in range(5):
        engine.submit(request(str(number), [1, 2, 3], Plan({1: (5, 6)}, fails="accept", after=2 + number)))
    outputs = run(engine)
    assert all(isinstance(outputs[str(number)][-1], Failed) for number in range(5))


# through the engine's thread


def answered(generations: Sequence[Generation], runner: ScriptedRunner) -> list[Generation]:
    """The generations in the order in which they end."""
    arrived: SimpleQueue[Generation | Exception] = SimpleQueue()
    with EngineThread(runner, arrived.put) as worker:
        for generation in generations:
            worker.submit(generation)
        found = [arrived.get(timeout=60) for _ in generations]
    assert arrived.empty()
    return [generation for generation in found if isinstance(generation, Generation)]


def forced_answer(name: str, text: str, stops: Collection[str] = ()) -> Generation:
    stream = TOY.ids(
        f"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>{text}"
    )
    made = Request(name, np.array([1, 2], np.int32), 500, end_ids=TOY.end_ids, guide=Plan({0: stream}))
    return Generation(made, TOY.parser(), list(stops))


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("Hello STOP world<|return|>", "Hello "),
        ("Hello STOP<|return|>", "Hello "),
        ("STOP<|return|>", ""),
        ("Hello STO<|return|>", "Hello STO"),
        ("Hello STOP world and so on", "Hello "),
    ],
)
def test_a_stop_string_inside_forced_tokens_ends_the_answer_there(text: str, content: str) -> None:
    runner = ScriptedRunner(n_vocab=TOY.size, n_ctx_seq=400, n_batch=64)
    whole = forced_answer("other", "Hello STOP world<|return|>")
    answers = answered([forced_answer("stopped", text, ["STOP"]), whole], runner)
    stopped = next(answer for answer in answers if answer.request.id == "stopped")
    assert (stopped.content, stopped.reasoning, stopped.finish) == (content, "Hm.", FinishReason.STOP)
    assert whole.content == "Hello STOP world"


def test_a_stop_string_before_a_forced_run_reaches_the_token_limit_is_a_stop() -> None:
    generation = forced_answer("a", "Hello STOP" + "x" * 1000, ["STOP"])
    answered([generation], ScriptedRunner(n_vocab=TOY.size, n_ctx_seq=400))
    assert (generation.content, generation.finish) == ("Hello ", FinishReason.STOP)


def test_a_guide_that_fails_is_an_error_of_its_request_alone() -> None:
    runner = ScriptedRunner(n_vocab=TOY.size, n_ctx_seq=400, n_batch=64)
    guide = Plan({0: TOY.ids("<|channel|>final<|message|>Hello")}, fails="accept", after=10)
    made = Request("fails", np.array([1, 2], np.int32), 100, guide=guide)
    failing, whole = Generation(made, TOY.parser()), forced_answer("whole", "Hello<|return|>")
    answered([failing, whole], runner)
    assert failing.error is not None
    assert failing.error.code == "generation_failed"
    assert (whole.content, whole.error) == ("Hello", None)


# schemas over random weights


def _object(*required: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [*required] or [*properties],
        "additionalProperties": False,
    }


DIGIT = {"type": "integer", "minimum": 0, "maximum": 9}
WORD = {"type": "string", "maxLength": 8}
SCHEMAS: dict[str, dict[str, Any]] = {
    "enum": {"enum": ["red", "green", "blue"]},
    "enum of all types": {"enum": ["a", 1, None, True, [1], {"a": 1}]},
    "const": {"const": {"a": [1, "two", None]}},
    "boolean": {"type": "boolean"},
    "null": {"type": "null"},
    "types": {"type": ["boolean", "null", "integer"], "minimum": 0, "maximum": 99},
    "string of a length": {"type": "string", "minLength": 3, "maxLength": 12},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
    "pattern of alternatives": {"type": "string", "pattern": "^(north|south|[ew]{1,3})$"},
    "date": {"type": "string", "format": "date"},
    "date-time": {"type": "string", "format": "date-time", "maxLength": 40},
    "time": {"type": "string", "format": "time", "maxLength": 40},
    "uuid": {"type": "string", "format": "uuid"},
    "ipv4": {"type": "string", "format": "ipv4"},
    "integer within bounds": {"type": "integer", "minimum": -7, "maximum": 250},
    "exclusive bounds": {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 6},
    "number within bounds": {"type": "number", "minimum": 0, "maximum": 1},
    "multiples": {"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 1000},
    "array within bounds": {"type": "array", "items": DIGIT, "minItems": 2, "maxItems": 6},
    "array of arrays": {
        "type": "array",
        "items": {"type": "array", "items": DIGIT, "maxItems": 3},
        "minItems": 1,
        "maxItems": 3,
    },
    "tuple": {"type": "array", "prefixItems": [WORD, DIGIT, {"type": "null"}], "items": False, "minItems": 3},
    "object": _object(name=WORD, age=DIGIT),
    "optional properties": {**_object("a", a=DIGIT, b=WORD, c={"type": "boolean"}), "minProperties": 1},
    "no required properties": {"type": "object", "properties": {"a": DIGIT}, "additionalProperties": False},
    "nested objects": _object(a=_object(b=_object(c=DIGIT, d=WORD)), e=DIGIT),
    "other properties": {
        "type": "object",
        "patternProperties": {"^[a-z]{1,3}$": DIGIT},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 3,
    },
    "anyOf": {"anyOf": [DIGIT, _object(a=DIGIT), {"type": "null"}]},
    "oneOf": {"oneOf": [DIGIT, WORD]},
    "allOf": {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 8}]},
    "definitions": {
        **_object(first={"$ref": "#/$defs/point"}, second={"$ref": "#/$defs/point"}),
        "$defs": {"point": _object(x=DIGIT, y=DIGIT)},
    },
    "recursion": {
        "$ref": "#/$defs/tree",
        "$defs": {"tree": _object("value", value=DIGIT, next={"$ref": "#/$defs/tree"})},
    },
    "names that need escapes": _object(**{'a"b': DIGIT, "c\\d": DIGIT, "é\n": DIGIT}),
    "text around": {"title": "T", "description": "D", "default": 1, "examples": [2], **DIGIT},
    "many properties": _object(**{f"field_{n}": DIGIT for n in range(12)}),
}


DIALECT = HarmonyDialect(TOY, TOY.markers, JsonGrammars(TOY))
PROMPT = TOY.ids("<|start|>user<|message|>Go.<|end|><|start|>assistant")


def answers(
    model: LlamaModel,
    conversations: Mapping[str, Conversation],
    dialect: HarmonyDialect = DIALECT,
    **sampling: Any,
) -> dict[str, Generation]:
    """Answers to all conversations in one batch, over random weights and one short prompt."""
    generations = {}
    with LlamaRunner(model, ContextOptions(n_ctx=1024, n_seq=8, n_threads=1)) as runner:
        engine = Engine(runner)
        for seed, (name, conversation) in enumerate(conversations.items()):
            how = Sampling(**{"seed": seed, **sampling})
            guide = dialect.guide(conversation, PROMPT)
            made = Request(name, np.array(PROMPT, np.int32), 900, how, dialect.end_ids, guide)
            generations[name] = Generation(made, dialect.parser(PROMPT))
            engine.submit(made)
        for name, outputs in run(engine).items():
            for output in outputs:
                assert isinstance(output, Generated), (name, output)
                generations[name].feed(output)
    return generations


def conversation_of(**fields: Any) -> Conversation:
    return Conversation((Message("user", "Go."),), max_reasoning_tokens=10, **fields)


def check(schema: Any, text: str) -> None:
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    validator.validate(json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON")))


@pytest.mark.parametrize("temperature", [0, 2])
def test_answers_of_random_weights_fit_their_schemas(gpt_oss: LlamaModel, temperature: float) -> None:
    conversations = {
        name: conversation_of(json_format=JsonFormat(schema))
        for name, schema in SCHEMAS.items()
        if temperature or name != "recursion"  # the most likely token may nest for ever
    }
    found = answers(gpt_oss, conversations, temperature=temperature)
    for name, generation in found.items():
        assert generation.finish is FinishReason.STOP, name
        assert not generation.recovered, name
        check(SCHEMAS[name], generation.content)


def test_the_toy_vocabulary_is_that_of_the_byte_model(gpt_oss: LlamaModel) -> None:
    assert [gpt_oss.vocab.piece(token) for token in range(gpt_oss.vocab.size)] == TOY.pieces
    assert gpt_oss.vocab.special_ids == TOY.special_ids


@pytest.mark.slow
def test_answers_in_the_whole_vocabulary_of_gpt_oss_fit_their_schemas(
    o200k: LlamaModel, harmony: HarmonyDialect
) -> None:
    conversations = {
        name: conversation_of(json_format=JsonFormat(schema)) for name, schema in SCHEMAS.items()
    }
    for name, generation in answers(o200k, conversations, harmony, temperature=1).items():
        assert generation.finish is FinishReason.STOP, name
        assert not generation.recovered, name
        check(SCHEMAS[name], generation.content)


def test_calls_of_random_weights_fit_their_functions(gpt_oss: LlamaModel) -> None:
    objects = {f"f{n}": schema for n, schema in enumerate(SCHEMAS.values()) if schema.get("type") == "object"}
    tools = tuple(Tool(name, "", schema) for name, schema in objects.items())
    conversations = {
        str(n): conversation_of(tools=tools, tool_choice=ToolChoice("required")) for n in range(20)
    } | {name: conversation_of(tools=tools, tool_choice=ToolChoice("required", name)) for name in objects}
    for name, generation in answers(gpt_oss, conversations).items():
        assert generation.finish is FinishReason.TOOL_CALLS
        assert not generation.recovered
        (call,) = generation.calls
        assert call.name == name or name.isdecimal()
        check(objects[call.name], call.arguments)


def test_a_real_model_answers_the_same_one_by_one(gpt_oss: LlamaModel) -> None:
    """Log probabilities disable forced runs. One answer may differ, by a tie."""
    names = ("object", "nested objects", "many properties", "definitions", "const")
    conversations = {name: conversation_of(json_format=JsonFormat(SCHEMAS[name])) for name in names}
    one_by_one = answers(gpt_oss, conversations, temperature=0, logprobs=0)
    together = answers(gpt_oss, conversations, temperature=0)
    same = [one_by_one[name].tokens == together[name].tokens for name in names]
    assert sum(same) >= len(names) - 1
    for name in names:
        check(SCHEMAS[name], one_by_one[name].content)


# the limit


def call_of_now(n_tokens: int) -> Generation:
    """A call without arguments, which is forced after the first choice, limited to `n_tokens`."""
    conversation = Conversation(
        (Message("user", "Go."),), (Tool("now"),), ToolChoice("required"), max_reasoning_tokens=0
    )
    made = Request(
        "a",
        np.array(PROMPT, np.int32),
        n_tokens,
        GREEDY,
        DIALECT.end_ids,
        DIALECT.guide(conversation, PROMPT),
    )
    return Generation(made, TOY.parser())


def test_a_call_is_complete_if_the_limit_cuts_only_its_forced_end() -> None:
    whole = call_of_now(500)
    answered([whole], ScriptedRunner(n_vocab=TOY.size, n_ctx_seq=600))
    assert (whole.finish, whole.calls) == (FinishReason.TOOL_CALLS, [ToolCall("now", "{}")])
    cut = call_of_now(len(whole.tokens) - 1)
    answered([cut], ScriptedRunner(n_vocab=TOY.size, n_ctx_seq=600))
    assert (cut.finish, cut.calls) == (FinishReason.TOOL_CALLS, [ToolCall("now", "{}")])


def test_a_call_without_its_forced_end_is_not_malformed() -> None:
    whole = call_of_now(500)
    answered([whole], ScriptedRunner(n_vocab=TOY.size, n_ctx_seq=600))
    cut = call_of_now(len(whole.tokens) - 1)
    answered([cut], ScriptedRunner(n_vocab=TOY.size, n_ctx_seq=600))
    assert not cut.recovered
