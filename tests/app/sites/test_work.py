"""Which site gets which lines, and which line is blamed for the death of its site."""

from ossctl.app.sites.work import Waiting, Work
from ossctl.app.wire.lines import Line


def work_of(n_lines: int) -> Work:
    work = Work()
    for index in range(n_lines):
        work.add(Waiting(index, Line(index + 1), b""))
    return work


def taken(work: Work, site: str, most: int = 4) -> list[int]:
    return [waiting.index for waiting in work.take(site, most)]


def test_a_site_gets_as_many_lines_as_it_has_room_for() -> None:
    work = work_of(6)
    assert taken(work, "a") == [0, 1, 2, 3]
    assert taken(work, "a") == []
    work.finish(2)
    assert taken(work, "a") == [4]
    assert taken(work, "b") == [5]


def test_lines_wait_until_a_site_has_them() -> None:
    work = work_of(6)
    assert work.waiting == 6
    taken(work, "a")
    assert work.waiting == 2
    work.lose("a", innocent=True)
    assert work.waiting == 6


def test_lines_of_a_dead_site_are_the_next() -> None:
    work = work_of(10)
    taken(work, "a")
    assert work.lose("a") is None
    assert taken(work, "b", 6) == [0, 1, 2, 3, 4, 5]


def test_the_first_result_of_a_line_counts_even_if_its_site_was_lost() -> None:
    work = work_of(2)
    taken(work, "a")
    work.lose("a")
    assert work.finish(0) is not None
    assert taken(work, "b") == [1]
    assert work.finish(0) is None


def test_the_line_that_kills_is_found_and_no_other_is_blamed() -> None:
    work, killer = work_of(200), 37
    answered: set[int] = set()
    crashes, blamed, lines = 0, [], []
    while len(work):
        lines += taken(work, "a", 64)
        if killer not in lines:
            answered |= {index for index in lines if work.finish(index)}
            lines = []
            continue
        crashes += 1
        lines = []
        if guilty := work.lose("a"):
            blamed.append(guilty.index)
    assert blamed == [killer]
    assert answered == set(range(200)) - {killer}
    assert crashes <= 5


def test_other_sites_go_on_while_suspects_are_examined() -> None:
    work = work_of(100)
    for _ in range(2):
        taken(work, "a")
        work.lose("a")
    group = taken(work, "a")
    assert len(group) == 1
    assert taken(work, "a") == []
    assert len(taken(work, "b")) == 4


def test_a_site_that_only_dies_examines_no_suspects() -> None:
    work = work_of(100)
    for _ in range(2):
        taken(work, "bad")
        work.lose("bad")
    assert [entry.index for entry in work.take("bad", 4, may_examine=False)] == [4, 5, 6, 7]
    assert taken(work, "good") == [0]


def test_lines_of_a_lost_machine_are_never_suspected() -> None:
    work = work_of(1)
    for _ in range(5):
        assert taken(work, "a") == [0]
        assert work.lose("a", innocent=True) is None
    assert taken(work, "b") == [0]
