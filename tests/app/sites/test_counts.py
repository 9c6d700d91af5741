"""What a line adds to the summary of a batch, on its way from a site to the driver."""

from dataclasses import fields

from ossctl.app.batch.summary import BatchSummary
from ossctl.app.sites.counts import add_counts, counts_of
from ossctl.errors import RequestError


def test_every_sum_arrives_but_for_what_is_running() -> None:
    empty = BatchSummary()
    names = [field.name for field in fields(empty) if isinstance(getattr(empty, field.name), int)]
    line, total = BatchSummary(), BatchSummary()
    for number, name in enumerate(names, 1):
        setattr(line, name, number)
    for _ in range(2):
        add_counts(total, counts_of(line))
    apart = {"failed", "seconds", "journal_seconds", "running", "running_tokens", "running_prompt_tokens"}
    assert {name: getattr(total, name) for name in names if name not in apart} == {
        name: 2 * number for number, name in enumerate(names, 1) if name not in apart
    }
    assert all(not getattr(total, name) for name in apart)


def test_a_failure_arrives_with_its_message() -> None:
    line = BatchSummary()
    line.add_error(RequestError("too long", code="context_length_exceeded"))
    assert counts_of(line).error == ("context_length_exceeded", "too long")
