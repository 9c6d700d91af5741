"""The order in which waiting requests are answered, and in which their records are written."""

import io
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ossctl.app.batch.prefix_queue import PrefixQueue
from ossctl.app.batch.writer import AsTheyCome, InOrder
from ossctl.app.inference.generation import Generation
from ossctl.app.inference.raw_dialect import RawParser
from ossctl.engine.request import Request
from ossctl.storage.journal import Journal


def waiting(name: str, prompt: str) -> list[Generation]:
    request = Request(name, np.array([*prompt.encode()], np.int32), 1)
    return [Generation(request, RawParser(lambda token: bytes([token]), frozenset()))]


def taken(window: PrefixQueue) -> str:
    return window.take()[0].request.id


def test_prompts_that_begin_alike_follow_each_other() -> None:
    window = PrefixQueue()
    for number, head in enumerate("abcabcabc"):
        window.add(waiting(f"{head}{number}", head * 20 + str(number)))
    assert [taken(window)[0] for _ in range(9)] == [*"aaabbbccc"]


def test_what_comes_in_behind_waits_for_the_next_round() -> None:
    window = PrefixQueue()
    for name in "bd":
        window.add(waiting(name, name))
    assert taken(window) == "b"
    for name in "ace":
        window.add(waiting(name, name))
    assert [taken(window) for _ in range(4)] == [*"cdea"]


@given(st.lists(st.sampled_from(["", "x", "xx", "y"]), max_size=20), st.data())
def test_every_request_comes_once(prompts: list[str], data: st.DataObject) -> None:
    window, came = PrefixQueue(), []
    for number, prompt in enumerate(prompts):
        window.add(waiting(str(number), prompt))
        if data.draw(st.booleans()):
            came.append(taken(window))
    while len(window):
        came.append(taken(window))
    assert sorted(came, key=int) == [str(number) for number in range(len(prompts))]


@given(st.permutations(range(8)), st.sets(st.integers(0, 7)), st.integers(0, 8))
def test_records_are_held_back_to_the_inputs_order(order: list[int], before: set[int], ends: int) -> None:
    file, done = io.BytesIO(), []
    writer = InOrder(AsTheyCome(Journal(lambda: file, "memory"), lambda: done.append(1)))
    for place in order[:ends]:
        writer.put(place, None if place in before else str(place).encode())
    written = [int(line) for line in file.getvalue().split()]
    reached = next(place for place in range(9) if place not in order[:ends])
    assert written == [place for place in range(reached) if place not in before]
    assert len(done) == reached
    assert writer.held == len(set(order[:ends]) - set(range(reached)) - before)
    writer.give_up()
    assert sorted(int(line) for line in file.getvalue().split()) == sorted(set(order[:ends]) - before)


def test_a_record_is_in_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with Journal(lambda: path.open("wb", buffering=0), "out") as journal:
        AsTheyCome(journal, lambda: None).put(5, b"x")
        assert path.read_bytes() == b"x\n"
