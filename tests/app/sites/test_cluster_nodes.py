"""The nodes of a cluster, as `ray.nodes()` lists them."""

from queue import SimpleQueue
from threading import Event
from typing import Any

from ossctl.app.sites.cluster.nodes import Node, NodeWatch, usable


def listed(node_id: str, machine: str, *, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeID": node_id, "NodeManagerHostname": machine, "Alive": alive, "Resources": resources}


def test_nodes_are_named_as_their_machines() -> None:
    nodes = usable([listed("aaaaaaaa", "one", CPU=8, GPU=2), listed("bbbbbbbb", "two", CPU=4)])
    assert nodes == [Node("aaaaaaaa", "one", 8, 2), Node("bbbbbbbb", "two", 4, 0)]


def test_several_nodes_of_a_machine_are_told_apart_also_from_dead_ones() -> None:
    nodes = usable([listed("aaaaaaaa", "one", CPU=1, alive=False), listed("bbbbbbbb", "one", CPU=1)])
    assert [node.name for node in nodes] == ["one (bbbbbb)"]


def test_nodes_without_cpus_answer_nothing() -> None:
    assert usable([listed("a", "head", CPU=0, memory=1), listed("b", "dead", CPU=1, alive=False)]) == []
    assert usable([listed("a", "gpu", GPU=1)]) == [Node("a", "gpu", 0, 1)]


def test_nodes_that_join_are_delivered_once() -> None:
    lists = [[listed("a", "one", CPU=1)]] * 3 + [[listed("a", "one", CPU=1), listed("b", "two", CPU=1)]]
    delivered: SimpleQueue[list[Node]] = SimpleQueue()
    watch = NodeWatch(lambda: lists.pop(0) if len(lists) > 1 else lists[0], delivered.put, 0.001)
    watch.start()
    names = [[node.name for node in delivered.get(timeout=5)] for _ in range(2)]
    watch.stop()
    assert names == [["one"], ["one", "two"]]
    assert delivered.empty()
    assert watch.silent_seconds < 5


def test_a_head_that_does_not_answer_is_silent_from_the_call_on() -> None:
    asked, answer = Event(), Event()

    def never() -> list[dict[str, Any]]:
        asked.set()
        answer.wait(5)
        return []

    watch = NodeWatch(never, lambda _: None, 0.001)
    assert watch.silent_seconds == 0
    watch.start()
    asked.wait(5)
    assert 0 < watch.silent_seconds < 5
    watch.stop()
    answer.set()
