"""The order in which requests are submitted, and in which their records are written."""

import io
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ossctl.app.batch.output_order import OrderedWriter, UnorderedWriter
from ossctl.app.inference.generation import Generation
from ossctl.app.inference.prefix_queue import PrefixQueue
from ossctl.app.inference.raw_dialect import RawParser
from ossctl.engine.request import Request
from ossctl.storage.journal import Journal


def choices(name: str, prompt: str) -> list[Generation]:
    request = Request(name, np.array([*prompt.encode()], np.int32), 1)
    return [Generation(request, RawParser(lambda token: bytes([token]), frozenset()))]


def pop(queue: PrefixQueue) -> str:
    return queue.pop()[0].request.id


def test_prompts_with_a_common_prefix_follow_each_other() -> None:
    queue = PrefixQueue()
    for number, head in enumerate("abcabcabc"):
        queue.push(choices(f"{head}{number}", head * 20 + str(number)))
    assert [pop(queue)[0] for _ in range(9)] == [*"aaabbbccc"]


def test_a_request_that_sorts_before_the_latest_waits_for_the_next_round() -> None:
    queue = PrefixQueue()
    for name in "bd":
        queue.push(choices(name, name))
    assert pop(queue) == "b"
    for name in "ace":
        queue.push(choices(name, name))
    assert [pop(queue) for _ in range(4)] == [*"cdea"]


@given(st.lists(st.sampled_from(["", "x", "xx", "y"]), max_size=20), st.data())
def test_every_request_is_popped_once(prompts: list[str], data: st.DataObject) -> None:
    queue, popped = PrefixQueue(), []
    for number, prompt in enumerate(prompts):
        queue.push(choices(str(number), prompt))
        if data.draw(st.booleans()):
            popped.append(pop(queue))
    while len(queue):
        popped.append(pop(queue))
    assert sorted(popped, key=int) == [str(number) for number in range(len(prompts))]


@given(st.permutations(range(8)), st.sets(st.integers(0, 7)), st.integers(0, 8))
def test_records_are_held_back_until_their_turn(order: list[int], before: set[int], ends: int) -> None:
    file, done = io.BytesIO(), []
    writer = OrderedWriter(UnorderedWriter(Journal(lambda: file, "memory"), lambda: done.append(1)))
    for index in order[:ends]:
        writer.put(index, None if index in before else str(index).encode())
    written = [int(line) for line in file.getvalue().split()]
    reached = next(index for index in range(9) if index not in order[:ends])
    assert written == [index for index in range(reached) if index not in before]
    assert len(done) == reached
    assert writer.held == len(set(order[:ends]) - set(range(reached)) - before)
    writer.flush()
    assert sorted(int(line) for line in file.getvalue().split()) == sorted(set(order[:ends]) - before)


def test_a_record_is_in_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with Journal(lambda: path.open("wb", buffering=0), "out") as journal:
        UnorderedWriter(journal, lambda: None).put(5, b"x")
        assert path.read_bytes() == b"x\n"
