"""The shares of sites in a file beside the output, and how they are shown."""

from pathlib import Path

import pytest

from ossctl.app.batch.site_notes import RunSoFar, SiteNotes, read_run
from ossctl.app.batch.status import BatchStatus
from ossctl.app.batch.summary import BatchSummary, SiteProgress
from ossctl.cli.batch_view import status_lines


def test_notes_are_read_back_until_they_are_removed(tmp_path: Path) -> None:
    output, seen = tmp_path / "out.jsonl", list[float]()
    notes = SiteNotes(output)
    watch = notes.watched(lambda summary: seen.append(summary.seconds))
    site = SiteProgress("one", 3, 90, [])
    for seconds, deaths in ((2.0, []), (2.5, []), (2.6, ["killed by SIGKILL"])):
        site.deaths = deaths
        watch(BatchSummary(seconds=seconds, sites=[site]))
        assert read_run(output).seconds == (2.0 if not deaths else 2.6)
    assert seen == [2.0, 2.5, 2.6]
    assert read_run(output).sites == [site]
    notes.remove()
    assert read_run(output) == RunSoFar()
    assert [*tmp_path.iterdir()] == []


def test_only_the_notes_of_sites_outlive_an_interrupted_run(tmp_path: Path) -> None:
    for sites, left in ((list[SiteProgress](), 0), ([SiteProgress("one", 3, 90, [])], 1)):
        notes = SiteNotes(tmp_path / "out.jsonl")
        summary = BatchSummary(done=3, failed=1, skipped=9, completion_tokens=50, seconds=2.0, sites=sites)
        notes.watched(lambda _: None)(summary)
        assert read_run(tmp_path / "out.jsonl") == RunSoFar(2.0, 4, 50, sites)
        notes.close()
        assert len([*tmp_path.iterdir()]) == left


def test_what_is_no_note_is_ignored(tmp_path: Path) -> None:
    (tmp_path / ".out.jsonl.sites").write_text("[1]")
    assert read_run(tmp_path / "out.jsonl") == RunSoFar()


def test_a_folder_that_cannot_be_written_does_not_matter(tmp_path: Path) -> None:
    watch = SiteNotes(tmp_path / "none" / "out.jsonl").watched(lambda _: None)
    watch(BatchSummary(seconds=2.0, sites=[SiteProgress("one")]))


@pytest.mark.parametrize(
    ("site", "shown"),
    [
        (SiteProgress("one"), "one: 0 lines"),
        (SiteProgress("one", 1200, 900), "one: 1,200 lines, 90.0 tokens/s"),
        (SiteProgress("one", 1, 10, ["exit code 1"]), "one: 1 line, 1.0 tokens/s, died once: exit code 1"),
        (SiteProgress("one", 0, 0, ["a", "a"]), "one: 0 lines, died 2 times: a"),
        (SiteProgress("one", 0, 0, ["b", "a", "a"]), "one: 0 lines, died 3 times: a (2), b (1)"),
        (SiteProgress("one", 0, 0, ["a", "no model"], left_out=True), "one: 0 lines, left out: no model"),
    ],
)
def test_a_site_is_a_line_of_the_status(site: SiteProgress, shown: str) -> None:
    status = BatchStatus(running=True, run=RunSoFar(10.0, sites=[site]))
    assert [*status_lines(status)][-1] == shown
    assert status.document()["sites"] == [site.report(10.0)]
