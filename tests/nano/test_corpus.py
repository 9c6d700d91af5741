"""The corpus is right about itself, and keeps what it holds out from training."""

import functools
import json
import re
from collections import defaultdict
from dataclasses import replace
from itertools import islice, pairwise
from statistics import mean

import pytest
from jsonschema import Draft202012Validator

from ossctl.dialect import ToolCall
from tools.nano.corpus import KINDS, WORDINGS, Sample, is_right, make_sample, samples
from tools.nano.draw import Draw
from tools.nano.fact_list import fact_words
from tools.nano.split import held_number, held_pair, held_word, normal
from tools.nano.words import ANIMALS, CITIES, COLOURS, NAMES, NOUNS, SPELT


@functools.cache
def training() -> tuple[Sample, ...]:
    return tuple(islice(samples(1, held_out=False), 20_000))


@functools.cache
def held_out() -> tuple[Sample, ...]:
    return tuple(islice(samples(1, held_out=True), 2_000))


def of(kind: str) -> list[Sample]:
    return [sample for sample in (*training()[:6_000], *held_out()) if sample.kind == kind]


def question(sample: Sample) -> str:
    return next(
        message.content for message in reversed(sample.conversation.messages) if message.role == "user"
    )


def asked(sample: Sample) -> str:
    """All that the user and the instructions say."""
    return "\n".join(
        message.content for message in sample.conversation.messages if message.role in ("system", "user")
    )


def text_of(sample: Sample) -> str:
    assert isinstance(sample.answer, str)
    return sample.answer


def quoted(sample: Sample) -> str:
    found = re.search(r"(['\"])(.*)\1", question(sample))
    assert found is not None, question(sample)
    return found.group(2)


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def slotless(template: str) -> set[str]:
    return words(re.sub(r"\{\w+\}", "", template))


def pattern(template: str) -> str:
    """Matches what a wording may have become, numbers in its slots for numbers."""
    parts = re.split(r"\{(\w+)\}", normal(template))
    slots = [r"(-?\d+)" if name in {"a", "b"} else "(.+)" for name in parts[1::2]]
    return "".join(re.escape(text) + slot for text, slot in zip(parts[::2], [*slots, ""], strict=True))


def test_a_seed_gives_the_same_samples_and_another_seed_others() -> None:
    first = list(islice(samples(7, held_out=False), 200))
    assert first == list(islice(samples(7, held_out=False), 200))
    assert first != list(islice(samples(8, held_out=False), 200))
    assert first != list(islice(samples(7, held_out=True), 200))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_trained_and_held_out(kind: str) -> None:
    assert sum(sample.kind == kind for sample in training()) > 200
    assert sum(sample.kind == kind for sample in held_out()) > 20


def test_training_and_evaluation_share_no_wording() -> None:
    for ways in WORDINGS:
        together = [normal(template) for template in (*ways.train, *ways.held)]
        assert ways.train
        assert ways.held
        assert len(set(together)) == len(together), together


def test_no_training_question_is_in_a_wording_that_is_held_out() -> None:
    trained = [re.compile(pattern(template)) for ways in WORDINGS for template in ways.train]
    held = re.compile(
        "|".join(re.sub(r"\((?=\.|-)", "(?:", pattern(t)) for ways in WORDINGS for t in ways.held)
    )
    for sample in training()[:8_000]:
        said = normal(question(sample))
        if held.fullmatch(said):  # then a wider wording of the training is what it came from
            assert any(ways.fullmatch(said) for ways in trained), question(sample)


def test_words_of_held_out_wordings_are_known_from_others() -> None:
    known = {word for ways in WORDINGS for template in ways.train for word in slotless(template)}
    for ways in WORDINGS:
        for template in ways.held:
            assert slotless(template) <= known, template


def test_nothing_drawn_for_evaluation_is_ever_asked_in_training() -> None:
    trained, evaluated = Draw(2, held_out=False), Draw(2, held_out=True)
    told = [make_sample(trained) for _ in range(2_000)]
    for _ in range(1_000):
        make_sample(evaluated)
    assert evaluated.seen.isdisjoint(trained.seen)
    templates = {word for ways in WORDINGS for text in (*ways.train, *ways.held) for word in slotless(text)}
    for sample in (*told, *training()):
        assert words(asked(sample)).isdisjoint(evaluated.seen - templates), asked(sample)


def test_the_split_is_of_the_size_that_it_should_be() -> None:
    pairs = [held_pair(a, b) for a in range(100) for b in range(a, 100)]
    assert 0.03 < mean(pairs) < 0.07
    for listed in (NAMES, CITIES, NOUNS, SPELT):
        assert 0.08 < mean(held_word(word) for word in listed) < 0.16
    for few in (COLOURS, ANIMALS):
        assert any(held_word(word) for word in few)
    assert any(held_number(number) for number in range(1, 100))
    assert not any(held_word(word) for word in fact_words())


def test_no_held_out_conversation_is_a_training_conversation() -> None:
    assert {asked(sample) for sample in training()}.isdisjoint(map(asked, held_out()))


@pytest.mark.parametrize("kind", ["add", "subtract"])
def test_sums_are_right_and_of_the_right_side_of_the_split(kind: str) -> None:
    trained = [(sample, False) for sample in training() if sample.kind == kind]
    for sample, held in (*trained, *((sample, True) for sample in held_out() if sample.kind == kind)):
        found = re.fullmatch(r"(\d+) ([+-]) (\d+)(?: =|:.* So) (-?\d+)\.", text_of(sample))
        assert found is not None, sample.answer
        a, sign, b, result = int(found[1]), found[2], int(found[3]), int(found[4])
        assert result == (a + b if sign == "+" else a - b)
        assert sorted(map(int, re.findall(r"\d+", question(sample)))) == sorted((a, b))
        assert held_pair(a, b) == held


@pytest.mark.parametrize("kind", ["add", "subtract"])
def test_each_step_of_a_sum_is_right(kind: str) -> None:
    for sample in of(kind):
        steps = re.findall(r"(\d+(?: [+-] \d+)+) = (\d+)", sample.reasoning)
        assert steps or not sample.reasoning
        for left, right in steps:
            numbers = [int(number) for number in re.sub(r"([+-]) ", r"\1", left).split()]
            assert sum(numbers) == int(right), sample.reasoning


def test_spelling_and_counting_are_right() -> None:
    for sample in of("upper"):
        assert sample.answer == quoted(sample).upper()
    for sample in of("reverse"):
        assert sample.answer == quoted(sample)[::-1]
    for sample in of("count"):
        counted = [word.rstrip(".?") for word in quoted(sample).split()]
        if sample.conversation.effort == "low":
            listed = ", ".join(f"{number} {word}" for number, word in enumerate(counted, 1))
            assert text_of(sample).endswith(f": {listed}. So {len(counted)}.")
        else:
            assert sample.answer == f"There are {len(counted)} words."


def test_what_is_recalled_was_said() -> None:
    for sample in of("recall"):
        value = text_of(sample).rstrip(".").split()[-1]
        assert re.search(rf"\b{value}\b", asked(sample)), sample


def test_extracted_json_fits_its_schema_in_its_order_and_comes_from_the_text() -> None:
    for sample in of("extract"):
        wanted = sample.conversation.json_format
        assert wanted is not None
        answer = json.loads(text_of(sample))
        Draft202012Validator(wanted.schema).validate(answer)
        assert list(answer) == list(wanted.schema["properties"])
        assert " " not in text_of(sample)
        assert all(str(value) in question(sample) for value in answer.values())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("call_")])
def test_calls_are_of_an_offered_tool_with_the_arguments_that_it_takes(kind: str) -> None:
    for sample in of(kind):
        assert isinstance(sample.answer, ToolCall)
        tools = {tool.name: tool for tool in sample.conversation.tools}
        assert len(tools) == len(sample.conversation.tools)
        arguments = json.loads(sample.answer.arguments)
        schema = tools[sample.answer.name].parameters
        assert schema is not None or arguments == {}
        if schema is not None:
            Draft202012Validator({**schema, "additionalProperties": False}).validate(arguments)
            assert list(arguments) == [key for key in schema["properties"] if key in arguments]
        if kind != "call_calculator":
            assert all(str(value) in question(sample) for value in arguments.values())


def test_a_result_follows_its_call_and_earlier_turns_are_finished() -> None:
    for sample in (*training()[:5_000], *held_out()):
        messages = sample.conversation.messages
        assert messages[-1].role == ("tool" if sample.kind == "result" else "user")
        for before, after in pairwise(messages):
            assert (after.role == "tool") == bool(before.calls)
            if after.role == "tool":
                assert after.tool == before.calls[0].name
                assert after.tool in {tool.name for tool in sample.conversation.tools}
            if after.role == "user":
                assert before.role == "system" or (before.role == "assistant" and not before.calls)


def test_instructions_are_followed() -> None:
    for sample in of("follow"):
        rule, answer = sample.conversation.messages[0].content.lower(), text_of(sample)
        if "lower" in rule or "small" in rule or "no capital" in rule:
            assert answer == answer.lower()
        elif "upper" in rule or "capital" in rule:
            assert answer == answer.upper()
        elif "one word" in rule:
            assert " " not in answer
        else:
            assert answer.lower().endswith(normal(rule).split()[-1])


def test_effort_decides_how_much_is_thought() -> None:
    lengths: dict[tuple[str, str], list[int]] = defaultdict(list)
    for sample in training():
        effort = sample.conversation.effort or "medium"
        lengths[sample.kind, effort].append(len(sample.reasoning.split()))
    for kind in KINDS:
        assert max(lengths[kind, "low"]) == 0
        assert min(lengths[kind, "medium"]) > 0
        assert mean(lengths[kind, "high"]) > 1.3 * mean(lengths[kind, "medium"])


def test_a_third_has_earlier_turns_and_all_are_short() -> None:
    finished = [
        sum(message.role == "assistant" and not message.calls for message in sample.conversation.messages)
        for sample in training()
    ]
    assert 0.25 < mean(count > 0 for count in finished) < 0.4
    assert max(finished) == 6
    for sample in training():
        contents = [message.content for message in sample.conversation.messages]
        assert len(contents[-1].split()) < 60
        assert len(" ".join([*contents, sample.reasoning, str(sample.answer)]).split()) < 180


@pytest.mark.parametrize("kind", KINDS)
def test_is_right_takes_the_answer_and_no_other(kind: str) -> None:
    for sample in of(kind):
        if isinstance(sample.answer, ToolCall):
            call = sample.answer
            spaced = ToolCall(call.name, json.dumps(json.loads(call.arguments), indent=1))
            assert is_right(sample, "", [call])
            assert is_right(sample, "", [spaced])
            assert not is_right(sample, "", [])
            assert not is_right(sample, "", [call, call])
            assert not is_right(sample, "", [replace(call, name=f"{call.name}s")])
            assert not is_right(sample, "", [replace(call, arguments='{"no":1}')])
            assert not is_right(sample, "", [replace(call, arguments="{")])
        else:
            assert is_right(sample, f" {sample.answer}\n", [])
            assert not is_right(sample, f"{sample.answer[:-2]}~", [])
            assert not is_right(sample, "", [])
            assert not is_right(sample, sample.answer, [ToolCall("search", "{}")])


def test_is_right_leaves_a_last_full_stop_to_taste() -> None:
    greeting = next(sample for sample in of("greet") if text_of(sample).endswith("welcome."))
    assert is_right(greeting, "You are welcome", [])
    reversed_word = of("reverse")[0]
    assert is_right(reversed_word, f"{reversed_word.answer}.", [])
