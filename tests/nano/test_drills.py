"""Drills ask what has one answer, and nothing that is held out."""

import itertools
import json
import re

import numpy as np
import pytest

from tools.nano import drills
from tools.nano.draw import Draw
from tools.nano.drills import drill_rows
from tools.nano.packing import IGNORED
from tools.nano.split import held_pair, held_word
from tools.nano.vocabulary import vocabulary


@pytest.fixture
def draw() -> Draw:
    return Draw(11, held_out=False)


def test_what_is_copied_was_there(draw: Draw) -> None:
    for _ in range(100):
        (said, nothing), *again = drills.copying(draw)
        assert not nothing
        assert len(again) == 2
        assert all(given + wanted == said for given, wanted in again)


def test_what_is_looked_up_was_noted_with_its_key(draw: Draw) -> None:
    for _ in range(100):
        pieces = list(drills.looking_up(draw))
        noted = {given for given, wanted in pieces if not wanted}
        for given, wanted in pieces:
            if not wanted:
                continue
            key, value = given.removesuffix(":").split()[-1], wanted.strip().removesuffix(" and").strip('.,"')
            key = re.sub(r"^[{,]|[\":]", "", key) if key != "is" else given.split()[-2]
            assert any(re.search(rf"\b{key}\b.*\b{value}\b", text) for text in noted), (noted, given, wanted)


def test_what_is_repeated_was_said(draw: Draw) -> None:
    for _ in range(100):
        (said, nothing), *again = drills.repeating(draw)
        assert not nothing
        assert again
        assert all(wanted.strip(" .\"'\n") == said.strip(" .\"'\n") for _, wanted in again)


def test_calls_have_the_keys_that_their_tool_was_given(draw: Draw) -> None:
    for _ in range(100):
        pieces = list(drills.naming(draw))
        tools = {
            given.split()[1]: re.findall(r"^(\w+): string,$", given, re.MULTILINE)
            for given, wanted in pieces
            if not wanted
        }
        calls = [(given, json.loads(wanted)) for given, wanted in pieces if wanted]
        assert {given.split()[2] for given, _ in calls} == set(tools)
        for given, arguments in calls:
            assert list(arguments) == tools[given.split()[2]]
            assert given.endswith(f"with {' '.join(arguments.values())}: ")


def test_two_numbers_are_put_in_the_order_that_is_asked_for(draw: Draw) -> None:
    for _ in range(100):
        numbers: list[str] = []
        for given, wanted in drills.ordering(draw):
            if not wanted:
                numbers = re.findall(r"\d+", given)
                assert not held_pair(*map(int, numbers))
                continue
            sign, how = given.strip(":").split()
            assert wanted.split() == [numbers[how == "turned"], sign, numbers[how == "so"]]


def test_sums_are_right_and_not_held_out(draw: Draw) -> None:
    for _ in range(300):
        for given, wanted in drills.sums(draw):
            a, sign, b = re.fullmatch(r"(\d+) ([+-]) (\d+)(?: =|:)", given).groups()  # type: ignore[union-attr]
            assert int(wanted.split()[-1].strip(".")) == (int(a) + int(b) if sign == "+" else int(a) - int(b))
            assert not held_pair(int(a), int(b))


def test_words_backwards_and_in_capitals(draw: Draw) -> None:
    for _ in range(100):
        for given, wanted in drills.reversing(draw):
            word = re.sub(r"[^a-z]", "", given.replace("backwards", ""))
            assert re.sub("[^a-z]", "", wanted) == word[::-1]
            assert not held_word(word)
        for given, wanted in drills.capitals(draw):
            assert (
                re.sub("[^A-Z]", "", wanted) == re.sub(r"[^a-z]", "", given.replace("capitals", "")).upper()
            )


def test_words_are_counted(draw: Draw) -> None:
    for _ in range(100):
        for given, wanted in drills.counting(draw):
            words = re.search(r"(['\"])(.*)\1", given)
            assert words is not None
            assert re.findall(r"\d+", wanted)[-1] == str(len(words[2].split()))


def test_rows_teach_what_is_wanted_and_drills_see_themselves_alone() -> None:
    tokenizer = vocabulary()
    for row in itertools.islice(drill_rows(tokenizer, 512, 2), 40):
        tokens, positions, segments, parents, targets = row
        assert not parents.any()
        assert (segments != 0).all()
        learnt = np.flatnonzero(targets != IGNORED)
        assert (tokens[learnt + 1] == targets[learnt]).all()
        assert (segments[learnt + 1] == segments[learnt]).all()
        assert not np.isin(tokens[learnt + 1], list(tokenizer.special_ids)).any()
        assert 0.2 < len(learnt) / (segments > 0).sum() < 0.8
        for segment in range(1, segments.max() + 1):
            assert (np.diff(positions[segments == segment]) == 1).all()
