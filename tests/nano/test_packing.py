"""A row holds several samples, and each is as if it were alone."""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from ossctl.dialect import ToolCall
from tools.nano.corpus import Sample, families
from tools.nano.packing import IGNORED, Packer, Row
from tools.nano.tokenizer import NanoTokenizer
from tools.nano.vocabulary import vocabulary

_LENGTH = 512


@pytest.fixture(scope="module")
def tokenizer() -> NanoTokenizer:
    return vocabulary()


@pytest.fixture(scope="module")
def groups() -> list[list[Sample]]:
    return list(itertools.islice(families(5), 400))


@pytest.fixture(scope="module")
def rows(tokenizer: NanoTokenizer, groups: list[list[Sample]]) -> list[Row]:
    return list(Packer(tokenizer, _LENGTH, 5).pack(groups))


def conversations(row: Row) -> Iterator[tuple[list[int], list[int], list[int]]]:
    """Tokens, positions and targets of each sample together with what it sees above itself."""
    tokens, positions, segments, parents, targets = (column.tolist() for column in row)
    places: dict[int, list[int]] = defaultdict(list)
    for place, segment in enumerate(segments):
        places[segment].append(place)
    above = {parents[at[0]] for at in places.values()}
    for segment, at in places.items():
        if segment > 0 and segment not in above:
            parent = parents[at[0]]
            seen = [*places[0], *(places[parent] if parent else []), *at]
            yield [tokens[n] for n in seen], [positions[n] for n in seen], [targets[n] for n in seen]


def test_every_sample_is_a_whole_conversation(rows: list[Row], tokenizer: NanoTokenizer) -> None:
    gaps = 0
    for row in rows:
        for tokens, positions, _ in conversations(row):
            assert positions[0] == 0
            steps = [after - before for before, after in pairwise(positions)]
            assert min(steps) == 1
            assert sum(step > 1 for step in steps) <= 2
            gaps += max(steps) > 1
            text = tokenizer.decode(tokens)
            assert text.startswith("<|start|>system<|message|>You are ChatGPT")
            assert text.count("<|start|>system") == 1
            assert text.count("<|start|>developer") <= 1
            assert text.endswith(("<|return|>", "<|call|>"))
    assert gaps > 50


def test_rows_are_filled(rows: list[Row]) -> None:
    assert np.mean([row[2] >= 0 for row in rows]) > 0.85


def test_what_is_learnt_is_what_follows(rows: list[Row]) -> None:
    for row in rows:
        for tokens, _, targets in conversations(row):
            following = [*tokens[1:], IGNORED]
            learnt = [n for n, target in enumerate(targets) if target != IGNORED]
            assert [targets[n] for n in learnt] == [following[n] for n in learnt]


def test_all_of_the_answer_is_learnt_and_nothing_that_others_wrote(
    rows: list[Row], groups: list[list[Sample]], tokenizer: NanoTokenizer
) -> None:
    packer = Packer(tokenizer, _LENGTH, 5)
    answers = {tokenizer.decode(packer.answer(sample)) for samples in groups for sample in samples}
    shown = 0
    for row in rows:
        for tokens, _, targets in conversations(row):
            learnt = "".join(tokenizer.piece(t).decode() if t != IGNORED else "\n" for t in targets)
            *earlier, answer, after = learnt.split("\n")
            assert after == ""
            assert answer in answers
            shown += 1
            text = tokenizer.decode(tokens)
            for own in filter(None, earlier):
                content = own.removesuffix("<|call|>").removesuffix("<|end|>")
                assert f"<|message|>{content}<|" in text
                assert "<|start|>" not in own
    assert shown > 400


def test_a_family_shares_its_developer_message(rows: list[Row]) -> None:
    sharing = 0
    for row in rows:
        parents = set(zip(row[2].tolist(), row[3].tolist(), strict=True))
        children = [parent for segment, parent in parents if segment > 0 and parent > 0]
        sharing += len(children) - len(set(children))
    assert sharing > 50


def test_calls_and_texts_are_both_among_the_answers(groups: list[list[Sample]]) -> None:
    calls = [isinstance(sample.answer, ToolCall) for samples in groups for sample in samples]
    assert 0.1 < np.mean(calls) < 0.5
