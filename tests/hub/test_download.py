"""Downloads through every kind of fault: complete and correct, or an error with resumable data."""

import random
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from ossctl.errors import ModelError
from ossctl.hub.download import ChecksumMismatch, fetch, fetch_prefix
from ossctl.hub.hub import HubFile, find_model
from ossctl.hub.reference import HubReference
from tests.support.hub import Cut, Fault, Flip, Hub, LoginPage, Stall, Status, WholeFile, sha256

REPO = "org/model-GGUF"
DATA = random.Random(0).randbytes(3_000_000)


@dataclass
class Fetching:
    """Fetches one file and records progress; waits are recorded instead of slept."""

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
def test_a_download_that_is_cut_fifty_times_at_random_is_complete(
    hub: Hub, fetching: Fetching, seed: int
) -> None:
    rng = random.Random(seed)
    places = sorted(rng.sample(range(1, len(DATA)), 50))
    hub.faults += [Cut(b - a, reset=rng.random() < 0.5) for a, b in pairwise([0, *places])]
    fetching.run()
    assert fetching.data == DATA
    assert len(fetching.waits) == 50
    assert len(hub.served) == 51


def test_no_byte_is_fetched_twice(hub: Hub, fetching: Fetching) -> None:
    hub.faults += [Cut(1_000_000), Cut(500_000), Cut(1)]
    fetching.run()
    assert [asked.start for asked in hub.served] == [0, 1_000_000, 1_500_000, 1_500_001]


def test_a_download_resumes_where_an_earlier_process_stopped(hub: Hub, fetching: Fetching) -> None:
    fetching.part.write_bytes(DATA[:1_234_567])
    fetching.run()
    assert fetching.data == DATA
    assert [asked.start for asked in hub.served] == [1_234_567]


def test_nothing_is_fetched_if_the_partial_file_is_complete(hub: Hub, fetching: Fetching) -> None:
    fetching.part.write_bytes(DATA)
    fetching.run()
    assert hub.served == []


def test_a_stalled_download_times_out_and_resumes(hub: Hub, fetching: Fetching) -> None:
    hub.faults += [Stall(1_000_000, seconds=3.0)]
    fetching.run()
    assert fetching.data == DATA
    assert fetching.waits == [(0.25, "the server stopped sending")]


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_retried_after_the_delay_that_it_specifies(
    hub: Hub, fetching: Fetching, code: int
) -> None:
    hub.faults += [Cut(1_000_000), Status(code, retry_after=7), Status(code)]
    fetching.run()
    assert fetching.data == DATA
    assert [seconds for seconds, _ in fetching.waits] == [0.25, 7.0, 1.0]
    assert f"the server returned {code}" in fetching.waits[1][1]


def test_the_hubs_ratelimit_header_is_respected(hub: Hub, fetching: Fetching) -> None:
    hub.faults += [Status(429, ratelimit='"resolvers";r=0;t=42')]
    fetching.run()
    assert fetching.waits == [(42.0, "the server returned 429, too many requests")]


def test_waits_grow_until_there_is_progress(hub: Hub, fetching: Fetching) -> None:
    hub.faults += [*[Status(503)] * 4, Cut(1000), Status(503)]
    fetching.run()
    assert [seconds for seconds, _ in fetching.waits] == [0.25, 0.5, 1.0, 2.0, 0.25, 0.5]


def test_a_server_that_stays_down_is_an_error_and_the_download_can_resume(
    hub: Hub, fetching: Fetching
) -> None:
    hub.faults += [Cut(1_000_000)]
    hub.every = Status(503)
    with pytest.raises(ModelError, match="the server returned 503, busy"):
        fetching.run()
    assert 120 < sum(seconds for seconds, _ in fetching.waits) < 300
    hub.every = None
    fetching.run()
    assert fetching.data == DATA
    assert hub.served[-1].start == 1_000_000


def test_a_retry_after_of_an_hour_is_an_error(hub: Hub, fetching: Fetching) -> None:
    hub.faults += [Status(429, retry_after=3600)]
    with pytest.raises(ModelError, match="429, too many requests"):
        fetching.run()
    assert fetching.waits == []


def test_a_checksum_mismatch_deletes_the_file(hub: Hub, fetching: Fetching) -> None:
    hub.faults += [Flip(at=1_500_000)]
    with pytest.raises(
        ChecksumMismatch, match=r"checksum mismatch for model.gguf: its sha256 is [0-9a-f]{64}, not "
    ) as caught:
        fetching.run()
    damaged = bytearray(DATA)
    damaged[1_500_000] ^= 1
    assert caught.value.sha256 == sha256(bytes(damaged))
    assert not fetching.part.exists()


def test_wrong_bytes_of_an_earlier_process_are_a_checksum_mismatch(hub: Hub, fetching: Fetching) -> None:
    fetching.part.write_bytes(bytes(1_000_000))
    with pytest.raises(ChecksumMismatch):
        fetching.run()
    fetching.run()
    assert fetching.data == DATA


def test_a_partial_file_that_is_too_long_is_discarded(hub: Hub, fetching: Fetching) -> None:
    fetching.part.write_bytes(bytes(len(DATA) + 1))
    fetching.run()
    assert fetching.data == DATA


def test_a_server_that_ignores_the_range_restarts_the_download(hub: Hub, fetching: Fetching) -> None:
    hub.faults += [Cut(1_000_000), WholeFile()]
    fetching.run()
    assert fetching.data == DATA


def test_a_server_that_always_starts_over_and_hangs_up_is_an_error(hub: Hub, fetching: Fetching) -> None:
    hub.faults = [WholeFile(after=1_000_000)] * 30  # then it sends all of it
    with pytest.raises(ModelError):
        fetching.run()
    assert sum(seconds for seconds, _ in fetching.waits) > 120
    assert len(hub.served) == 12


@pytest.mark.parametrize("before", [[], [Cut(1_000_000)]], ids=["at first", "later"])
def test_a_login_page_never_becomes_part_of_the_file(
    hub: Hub, fetching: Fetching, before: list[Fault]
) -> None:
    hub.faults += [*before, LoginPage(), LoginPage()]
    fetching.run()
    assert fetching.data == DATA
    assert "50 bytes instead of 3,000,000" in fetching.waits[-1][1]
    assert max(asked.start for asked in hub.served) == (1_000_000 if before else 0)


def test_each_attempt_requests_a_new_redirect_from_the_hub(hub: Hub, fetching: Fetching) -> None:
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
def test_a_prefix_of_a_file_can_be_fetched(hub: Hub, fetching: Fetching, fault: Fault) -> None:
    hub.faults += [fault]
    assert fetch_prefix(fetching.file, 100_000) == DATA[:100_000]
    assert fetch_prefix(fetching.file, 2 * len(DATA)) == DATA


def test_a_prefix_that_cannot_be_fetched_is_an_error(hub: Hub, fetching: Fetching) -> None:
    hub.peek_faults += [Status(503)]
    with pytest.raises(ModelError, match="cannot serve"):
        fetch_prefix(fetching.file, 100)


def test_the_error_for_a_permanent_login_page_suggests_a_login(hub: Hub, fetching: Fetching) -> None:
    hub.every = LoginPage()
    with pytest.raises(ModelError, match="the server sent 50 bytes instead of 3,000,000") as caught:
        fetching.run()
    assert caught.value.message.startswith("cannot fetch from")
    assert "login in a browser" in caught.value.hint
