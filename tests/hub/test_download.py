"""A file from the hub through every fault: complete and right, or the reason is said and the rest stays."""

import random
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from ossctl.errors import ModelError
from ossctl.hub.download import Damaged, fetch, read_beginning
from ossctl.hub.hub import HubFile, find_model
from ossctl.hub.reference import HubReference
from tests.support.hub import Cut, Fault, Flip, Hub, LoginPage, Stall, Status, WholeFile, sha256

REPO = "org/model-GGUF"
DATA = random.Random(0).randbytes(3_000_000)


@dataclass
class Fetching:
    """One file to fetch, and what happens meanwhile; waits are noted and not waited."""

    file: HubFile
    part: Path
    waits: list[tuple[float, str]] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)

    def run(self) -> None:
        fetch(self.file, self.part, self.seen.append, self.wait)

    def wait(self, seconds: float, why: str) -> None:
        self.waits.append((seconds, why))

    @property
    def data(self) -> bytes:
        return self.part.read_bytes()


@pytest.fixture
def fetching(hub: Hub, tmp_path: Path) -> Fetching:
    hub.add(REPO, {"model.gguf": DATA})
    (file,) = find_model(HubReference(REPO), no_waiting).files
    return Fetching(file, tmp_path / "part")


def no_waiting(seconds: float, why: str) -> None:
    raise AssertionError(f"waits {seconds} s: {why}")


def test_a_file_arrives_in_one_request(hub: Hub, fetching: Fetching) -> None:
    fetching.run()
    assert fetching.data == DATA
    assert len(hub.served) == 1
    assert fetching.waits == []
    assert fetching.seen[-1] == len(DATA)
    assert fetching.seen == sorted(fetching.seen)


@pytest.mark.parametrize("seed", range(2))
def test_a_download_that_is_cut_fifty_times_at_random_is_whole(
    hub: Hub, fetching: Fetching, seed: int
) -> None:
    rng = random.Random(seed)
    places = sorted(rng.sample(range(1, len(DATA)), 50))
    hub.faults += [Cut(b - a, reset=rng.random() < 0.5) for a, b in pairwise([0, *places])]
    fetching.run()
    assert fetching.data == DATA
    assert len(fetching.waits) == 50
    assert len(hub.served) == 51


def test_what_has_arrived_is_never_fetched_again(hub: Hub, fetching: Fetching) -> None:
    hub.faults += [Cut(1_000_000), Cut(500_000), Cut(1)]
    fetching.run()
    assert [asked.start for asked in hub.served] == [0, 1_000_000, 1_500_000, 1_500_001]


def test_a_download_goes_on_from_what_an_earlier_process_left(hub: Hub, fetching: Fetching) -> None:
    fetching.part.write_bytes(DATA[:1_234_567])
    fetching.run()
    assert fetching.data == DATA
    assert [asked.start for asked in hub.served] == [1_234_567]


def test_nothing_is_fetched_when_the_rest_had_arrived(hub: Hub, fetching: Fetching) -> None:
    fetching.part.write_bytes(DATA)
    fetching.run()
    assert hub.served == []


def test_a_stall_is_noticed_and_the_download_goes_on(hub: Hub, fetching: Fetching) -> None:
    hub.faults += [Stall(1_000_000, seconds=3.0)]
    fetching.run()
    assert fetching.data == DATA
    assert fetching.waits == [(0.25, "the server stopped sending")]


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again_after_as_long_as_it_says(
    hub: Hub, fetching: Fetching, code: int
) -> None:
    hub.faults += [Cut(1_000_000), Status(code, retry_after=7), Status(code)]
    fetching.run()
    assert fetching.data == DATA
    assert [seconds for seconds, _ in fetching.waits] == [0.25, 7.0, 1.0]
    assert f"the server said {code}" in fetching.waits[1][1]


def test_the_hubs_own_way_to_limit_is_understood(hub: Hub, fetching: Fetching) -> None:
    hub.faults += [Status(429, ratelimit='"resolvers";r=0;t=42')]
    fetching.run()
    assert fetching.waits == [(42.0, "the server said 429, too many requests")]


def test_waits_grow_until_there_is_progress(hub: Hub, fetching: Fetching) -> None:
    hub.faults += [*[Status(503)] * 4, Cut(1000), Status(503)]
    fetching.run()
    assert [seconds for seconds, _ in fetching.waits] == [0.25, 0.5, 1.0, 2.0, 0.25, 0.5]


def test_a_server_that_stays_away_ends_it_and_the_rest_can_follow(hub: Hub, fetching: Fetching) -> None:
    hub.faults += [Cut(1_000_000)]
    hub.every = Status(503)
    with pytest.raises(ModelError, match="the server said 503, busy"):
        fetching.run()
    assert 120 < sum(seconds for seconds, _ in fetching.waits) < 300
    hub.every = None
    fetching.run()
    assert fetching.data == DATA
    assert hub.served[-1].start == 1_000_000


def test_a_server_that_wants_an_hour_is_not_waited_for(hub: Hub, fetching: Fetching) -> None:
    hub.faults += [Status(429, retry_after=3600)]
    with pytest.raises(ModelError, match="429, too many requests"):
        fetching.run()
    assert fetching.waits == []


def test_a_wrong_hash_is_noticed_and_what_arrived_is_thrown_away(hub: Hub, fetching: Fetching) -> None:
    hub.faults += [Flip(at=1_500_000)]
    with pytest.raises(
        Damaged, match=r"model.gguf arrived damaged: its sha256 is [0-9a-f]{64}, not "
    ) as caught:
        fetching.run()
    damaged = bytearray(DATA)
    damaged[1_500_000] ^= 1
    assert caught.value.sha256 == sha256(bytes(damaged))
    assert not fetching.part.exists()


def test_wrong_bytes_of_an_earlier_process_are_noticed(hub: Hub, fetching: Fetching) -> None:
    fetching.part.write_bytes(bytes(1_000_000))
    with pytest.raises(Damaged):
        fetching.run()
    fetching.run()
    assert fetching.data == DATA


def test_more_bytes_than_the_file_has_are_thrown_away(hub: Hub, fetching: Fetching) -> None:
    fetching.part.write_bytes(bytes(len(DATA) + 1))
    fetching.run()
    assert fetching.data == DATA


def test_a_server_that_ignores_the_range_starts_it_anew(hub: Hub, fetching: Fetching) -> None:
    hub.faults += [Cut(1_000_000), WholeFile()]
    fetching.run()
    assert fetching.data == DATA


@pytest.mark.parametrize("before", [[], [Cut(1_000_000)]], ids=["at first", "later"])
def test_a_login_page_never_becomes_part_of_the_file(
    hub: Hub, fetching: Fetching, before: list[Fault]
) -> None:
    hub.faults += [*before, LoginPage(), LoginPage()]
    fetching.run()
    assert fetching.data == DATA
    assert "something of 50 bytes, not 3,000,000" in fetching.waits[-1][1]
    assert max(asked.start for asked in hub.served) == (1_000_000 if before else 0)


def test_each_attempt_asks_the_hub_for_the_address_anew(hub: Hub, fetching: Fetching) -> None:
    hub.faults += [Cut(1), Cut(1)]
    fetching.run()
    assert sum("/resolve/" in asked.path for asked in hub.asked) == 3


def test_the_token_goes_to_the_hub_and_nowhere_else(
    hub: Hub, fetching: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    fetching.run()
    assert hub.asked[-1].headers["authorization"] == f"Bearer {hub.token}"
    assert "authorization" not in hub.served[-1].headers


@pytest.mark.parametrize("fault", [None, WholeFile()], ids=["a range", "all of it"])
def test_the_beginning_alone_can_be_read(hub: Hub, fetching: Fetching, fault: Fault) -> None:
    hub.faults += [fault]
    assert read_beginning(fetching.file, 100_000) == DATA[:100_000]
    assert read_beginning(fetching.file, 2 * len(DATA)) == DATA


def test_a_beginning_that_cannot_be_read_is_said(hub: Hub, fetching: Fetching) -> None:
    hub.peek_faults += [Status(503)]
    with pytest.raises(ModelError, match="cannot serve"):
        read_beginning(fetching.file, 100)


def test_a_login_page_that_stays_is_said_for_what_it_may_be(hub: Hub, fetching: Fetching) -> None:
    hub.every = LoginPage()
    with pytest.raises(ModelError, match="the server sent something of 50 bytes, not 3,000,000") as caught:
        fetching.run()
    assert caught.value.message.startswith("cannot fetch from")
    assert "login in a browser" in caught.value.hint
