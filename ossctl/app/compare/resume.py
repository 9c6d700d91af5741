"""What a resumed comparison takes over from its file."""

from collections.abc import Collection, Mapping, Sequence

from ossctl.app.compare.results import Answer, Comparison, Contestant, Prompt, Record, Verdict, Vote
from ossctl.errors import UsageError

_HINT = "Give all of them again, with any new ones, or choose another file."


def take_over(comparison: Comparison, records: Sequence[Record], labels: Collection[str], name: str) -> None:
    """Add what the file `name` has to a comparison of the contestants with these labels.

    Raises UsageError if the file has prompts or contestants that the comparison leaves out: they would be
    lost.
    """
    ids = {prompt.id for prompt in comparison.prompts}
    for record in records:
        match record:
            case Prompt() if record.id not in ids:
                raise UsageError(f"{name} also has the prompt {record.id[:80]!r}", _HINT)
            case Contestant() if record.label not in labels:
                raise UsageError(f"{name} also has the contestant {record.label[:80]!r}", _HINT)
            case Contestant() if not record.error:
                comparison.contestants.append(record)
            case Answer() if not record.error:
                comparison.answers[record.prompt, record.contestant] = record
            case Vote() if record.vote != "skip":
                comparison.votes.append(record)
            case Verdict() if record.ruling != "failed":
                comparison.verdicts.append(record)


def drop_changed(comparison: Comparison, label: str, keys: Mapping[str, str]) -> int:
    """Drop the answers of a contestant whose key is not the one in `keys`, by prompt; return how many.

    Votes and verdicts on them are dropped as well.
    """
    changed = {
        prompt
        for prompt, key in keys.items()
        if (answer := comparison.answers.get((prompt, label))) and answer.key != key
    }
    for prompt in changed:
        del comparison.answers[prompt, label]
    if changed:
        comparison.votes = [each for each in comparison.votes if not _is_on(each, label, changed)]
        comparison.verdicts = [each for each in comparison.verdicts if not _is_on(each, label, changed)]
    return len(changed)


def _is_on(ruling: Vote | Verdict, label: str, prompts: Collection[str]) -> bool:
    return ruling.prompt in prompts and label in (ruling.first, ruling.second)
