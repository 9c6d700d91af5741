"""What one line adds to the summary of a batch, as a message."""

from dataclasses import fields

from ossctl.app.batch.summary import BatchSummary
from ossctl.app.sites.site import Counts

_NO_SUMS = {"running", "running_tokens", "running_prompt_tokens"}  # sent by themselves, as `Stats`
_SUMS = tuple(
    field.name for field in fields(BatchSummary) if type(field.default) is int and field.name not in _NO_SUMS
)


def counts_of(summary: BatchSummary) -> Counts:
    """The counts of a summary of one line."""
    message = next(iter(summary.error_messages), "")
    return Counts(
        {name: value for name in _SUMS if (value := getattr(summary, name))},
        next(((code, message) for code in summary.errors), None),
        summary.latency.buckets,
        summary.first_token.buckets,
        (summary.latency.longest, summary.first_token.longest),
    )


def add_counts(summary: BatchSummary, counts: Counts) -> None:
    """Add the counts of a line, but for its error."""
    for name, value in counts.sums.items():
        if name in _SUMS and name != "failed":
            setattr(summary, name, getattr(summary, name) + value)
    summary.latency.merge(counts.latency, counts.longest[0])
    summary.first_token.merge(counts.first_token, counts.longest[1])
