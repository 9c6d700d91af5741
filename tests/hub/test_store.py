"""Pulls into the Hugging Face cache, and what other tools find there."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier, get_ident

import pytest
from huggingface_hub import constants, hf_hub_download, scan_cache_dir

from ossctl.errors import ModelError
from ossctl.hub.cache import RepoFolder
from ossctl.hub.hub import find_model
from ossctl.hub.local import LocalModel
from ossctl.hub.records import FileRecords
from ossctl.hub.reference import HubReference
from ossctl.hub.store import ModelPull, Transfer, free_bytes, missing_bytes
from tests.support.hub import Cut, Flip, Hub, Status, sha256

REPO = "org/model-GGUF"
DATA = random.Random(0).randbytes(1_000_000)
PARTS = {f"m-0000{n}-of-00003.gguf": random.Random(n).randbytes(300_000) for n in (1, 2, 3)}


@dataclass
class Pulling:
    """Pulls from the test hub and records what was shown."""

    records: FileRecords
    shown: list[Transfer] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __call__(self, reference: str = f"hf:{REPO}") -> LocalModel:
        model = find_model(HubReference.parse(reference), lambda *_: None)
        return ModelPull(model, self.records, self.shown.append, self.said.append).run()


@pytest.fixture
def pulling(tmp_path: Path) -> Pulling:
    return Pulling(FileRecords(tmp_path / "records.db"))


def blobs() -> set[str]:
    return {path.name for path in (RepoFolder.of(REPO).path / "blobs").iterdir()}


def test_a_pulled_model_is_there_verified_and_found(hub: Hub, pulling: Pulling) -> None:
    commit = hub.add(REPO, {"m.gguf": DATA, "README.md": b"hi"}).commit(0)
    model = pulling()
    assert model.first.read_bytes() == DATA
    assert model.name == f"hf:{REPO}:m.gguf"
    assert model.commit == commit
    verified = pulling.records.verified(model.first)
    assert verified is not None
    assert verified.sha256 == sha256(DATA)
    assert pulling.shown[-1] == Transfer(len(DATA), len(DATA))
    assert pulling.said == []


def test_all_shards_are_pulled_with_one_progress(hub: Hub, pulling: Pulling) -> None:
    hub.add(REPO, PARTS)
    model = pulling()
    assert [file.read_bytes() for file in model.files] == list(PARTS.values())
    assert {transfer.total for transfer in pulling.shown} == {900_000}
    done = [transfer.done for transfer in pulling.shown]
    assert done == sorted(done)
    assert done[-1] == 900_000


def test_other_tools_find_what_was_pulled(hub: Hub, pulling: Pulling) -> None:
    commit = hub.add(REPO, {"m.gguf": DATA}).commit(0)
    model = pulling()
    assert hf_hub_download(REPO, "m.gguf", local_files_only=True) == str(model.first)
    info = scan_cache_dir(constants.HF_HUB_CACHE)
    assert info.warnings == []
    (repo,) = info.repos
    (revision,) = repo.revisions
    assert (repo.repo_id, repo.size_on_disk) == (REPO, len(DATA))
    assert (revision.commit_hash, revision.refs) == (commit, frozenset({"main"}))


def test_a_file_of_another_tool_is_reused_and_verified(hub: Hub, pulling: Pulling) -> None:
    hub.add(REPO, {"m.gguf": DATA})
    theirs = hf_hub_download(REPO, "m.gguf")
    served = len(hub.served)
    assert str(pulling().first) == theirs
    assert len(hub.served) == served
    assert any("verifying m.gguf" in transfer.status for transfer in pulling.shown)
    assert pulling.records.verified(Path(theirs)) is not None


def test_a_second_pull_neither_fetches_nor_hashes(hub: Hub, pulling: Pulling) -> None:
    hub.add(REPO, PARTS)
    pulling()
    pulling.shown.clear()
    pulling()
    assert len(hub.served) == len(PARTS)
    assert not [transfer for transfer in pulling.shown if transfer.status]


def test_after_a_checksum_mismatch_the_file_is_fetched_again(hub: Hub, pulling: Pulling) -> None:
    hub.add(REPO, PARTS)
    hub.faults += [None, Flip(at=7)]
    model = pulling()
    assert [file.read_bytes() for file in model.files] == list(PARTS.values())
    (said,) = pulling.said
    assert said.startswith("checksum mismatch for m-00002-of-00003.gguf: ")
    assert len(hub.served) == 4


def test_a_second_checksum_mismatch_is_an_error(hub: Hub, pulling: Pulling) -> None:
    hub.add(REPO, {"m.gguf": DATA})
    hub.faults += [Flip(at=7), Flip(at=8)]
    with pytest.raises(
        ModelError, match=f"second checksum mismatch for m.gguf: .* not {sha256(DATA)}"
    ) as caught:
        pulling()
    assert "proxy" in caught.value.hint
    assert blobs() == set()
    assert pulling().first.read_bytes() == DATA


def test_versions_of_a_file_are_never_mixed(hub: Hub, pulling: Pulling) -> None:
    newer = random.Random(9).randbytes(len(DATA))
    hub.add(REPO, {"m.gguf": DATA})
    hub.faults += [Cut(600_000), *[Status(404)]]
    with pytest.raises(ModelError):
        pulling()
    hub.add(REPO, {"m.gguf": newer})
    assert pulling().first.read_bytes() == newer
    assert hub.served[-1].start == 0
    assert blobs() == {f"{sha256(DATA)}.incomplete", sha256(newer)}


def test_a_file_that_changes_at_the_same_url_is_a_checksum_mismatch(hub: Hub, pulling: Pulling) -> None:
    """As with a mirror that serves another file of the same length for the same commit."""
    other = random.Random(9).randbytes(len(DATA))
    hub.add(REPO, {"m.gguf": DATA})
    real = hub.blob
    hub.faults += [Cut(600_000)]
    hub.blob = lambda digest: other if len(hub.served) == 2 else real(digest)  # type: ignore[method-assign]
    assert pulling().first.read_bytes() == DATA
    assert "checksum mismatch" in pulling.said[0]


def test_the_next_pull_resumes_a_failed_one(hub: Hub, pulling: Pulling) -> None:
    hub.add(REPO, PARTS)
    hub.faults += [None, Cut(100_000), Status(403)]
    with pytest.raises(ModelError, match="denied access"):
        pulling()
    model = find_model(HubReference(REPO), lambda *_: None)
    assert missing_bytes(model) == 900_000 - 300_000 - 100_000
    assert [file.read_bytes() for file in pulling().files] == list(PARTS.values())
    assert [asked.start for asked in hub.served] == [0, 0, 100_000, 100_000, 0]


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def change(path: Path) -> None:
    path.write_bytes(bytes(len(DATA)))


@pytest.mark.parametrize("damage", [shorten, change, Path.unlink])
def test_a_pull_replaces_a_damaged_file(hub: Hub, pulling: Pulling, damage: Callable[[Path], None]) -> None:
    hub.add(REPO, {"m.gguf": DATA})
    path = pulling().first
    damage(path.resolve())
    assert pulling().first.read_bytes() == DATA


def test_two_pulls_of_a_damaged_file_fetch_it_once(hub: Hub, pulling: Pulling) -> None:
    hub.add(REPO, {"m.gguf": DATA})
    change(pulling().first.resolve())
    both_have_read_it, late = Barrier(2, timeout=60), set[int]()

    def on_progress(transfer: Transfer) -> None:
        if transfer.status.startswith("verifying") and get_ident() not in late:
            late.add(get_ident())
            both_have_read_it.wait()

    model, said = find_model(HubReference(REPO), lambda *_: None), list[str]()
    pulls = [ModelPull(model, pulling.records, on_progress, said.append) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(ModelPull.run, pulls))
    assert [each.first.read_bytes() for each in found] == [DATA, DATA]
    assert len(hub.served) == 2
    assert said == ["m.gguf is damaged on disk; fetching it again."]


def test_pulls_note_the_commit_of_a_revision_at_once(tmp_path: Path) -> None:
    folder, commits = RepoFolder(tmp_path), [f"{number:040x}" for number in range(400)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda commit: folder.write_ref("main", commit), commits))
    (written,) = (tmp_path / "refs").iterdir()
    assert (written.name, written.read_text("utf-8") in commits) == ("main", True)


def test_a_new_commit_with_the_same_file_fetches_nothing(hub: Hub, pulling: Pulling) -> None:
    hub.add(REPO, {"m.gguf": DATA})
    pulling()
    hub.add(REPO, {"m.gguf": DATA, "README.md": b"better"})
    model = pulling()
    assert model.commit == hub.repositories[REPO].commit(1)
    assert len(hub.served) == 1


def test_models_are_found_by_commit_and_by_branch(hub: Hub, pulling: Pulling) -> None:
    repository = hub.add(REPO, {"m.gguf": b"old"})
    hub.add(REPO, {"m.gguf": b"newer"})
    old = repository.commit(0)
    assert pulling(f"hf:{REPO}@{old}").first.read_bytes() == b"old"
    assert pulling().first.read_bytes() == b"newer"
    folder = RepoFolder.of(REPO)
    for revision, data in {"main": b"newer", old: b"old", old[:8]: b"old"}.items():
        found = folder.find(HubReference(REPO, revision=revision))
        assert found is not None
        assert found.first.read_bytes() == data
    assert folder.find(HubReference(REPO, revision="0123456789")) is None


def test_without_symlinks_the_snapshot_contains_the_file(
    hub: Hub, pulling: Pulling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    hub.add(REPO, {"m.gguf": DATA})
    model = pulling()
    assert not model.first.is_symlink()
    assert model.first.read_bytes() == DATA
    assert blobs() == set()
    assert not [transfer for transfer in pulling.shown if "verifying" in transfer.status]
    assert pulling.records.verified(model.first) is not None
    assert hf_hub_download(REPO, "m.gguf", local_files_only=True) == str(model.first)
    pulling()
    assert len(hub.served) == 1


def test_free_space_is_that_of_the_nearest_existing_folder(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "a" / "b") == pytest.approx(free_bytes(tmp_path), rel=0.1)


def test_a_pull_works_without_a_usable_database_of_records(hub: Hub, tmp_path: Path) -> None:
    hub.add(REPO, {"m.gguf": DATA})
    (tmp_path / "records.db").write_text("this is no database" * 100)
    assert Pulling(FileRecords(tmp_path / "records.db"))().first.read_bytes() == DATA


def test_a_verification_is_valid_until_the_file_changes(tmp_path: Path) -> None:
    records, path = FileRecords(tmp_path / "records.db"), tmp_path / "f"
    path.write_bytes(b"a")
    records.note_verified(path, "hash")
    assert records.verified(path) is not None
    path.write_bytes(b"bb")
    assert records.verified(path) is None


def test_a_file_whose_name_is_not_utf8_is_remembered(tmp_path: Path) -> None:
    records = FileRecords(tmp_path / "records.db")
    for name in ("caf\udce9.gguf", "caf\udce8.gguf"):
        records.note_used(tmp_path / name)
        assert records.used(tmp_path / name) is not None
    assert records.used(tmp_path / "caf\udcea.gguf") is None
