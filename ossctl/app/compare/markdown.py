"""A comparison as a page of Markdown."""

import re
from collections.abc import Iterator, Sequence

from ossctl.app.compare.results import Answer, Comparison, Contestant, Prompt, Verdict
from ossctl.app.compare.word_diff import plain_diff, word_diff
from ossctl.app.compare.wording import (
    notes_of,
    summary_table,
    verdict_lines,
    verdict_text,
    vote_lines,
)
from ossctl.app.user_text import Attached, fenced
from ossctl.text import harmless

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&])")


def markdown_of(comparison: Comparison, *, diff: bool = False, reasoning: bool = False) -> str:
    """The page, with word diffs and reasoning if wanted.

    Answers are quoted, so that their own headings stay within.
    """
    parts = ["# Comparison", _summary(comparison)]
    parts += [f"- {_text(contestant)}" for contestant in map(_failure, comparison.contestants) if contestant]
    for title, lines in (("Votes", vote_lines), ("Verdicts", verdict_lines)):
        if found := [*lines(comparison)]:
            parts += [f"## {title}", "\n".join(f"- {_text(line)}" for line in found)]
    for prompt in comparison.prompts:
        parts += _prompt(comparison, prompt, diff=diff, reasoning=reasoning)
    return harmless("\n\n".join(parts) + "\n")


def _summary(comparison: Comparison) -> str:
    head, *found = summary_table(comparison)
    rows = [head, ("---", *["---:"] * (len(head) - 1)), *(tuple(map(_text, row)) for row in found)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _failure(contestant: Contestant) -> str:
    return f"{contestant.label} failed: {contestant.error}" if contestant.error else ""


def _prompt(comparison: Comparison, prompt: Prompt, *, diff: bool, reasoning: bool) -> Iterator[str]:
    yield f"## Prompt {_text(prompt.id)}"
    yield fenced(Attached("", prompt.text))
    answers = comparison.answers_to(prompt)
    for answer in answers:
        yield f"### {_text(answer.contestant)}"
        if reasoning and answer.reasoning:
            yield f"Reasoning:\n\n{_quoted(answer.reasoning)}\n\nAnswer:"
        if answer.answer:
            yield _quoted(answer.answer)
        yield "\n".join(f"*{_text(note)}*  " for note in notes_of(answer)).rstrip()
    if diff:
        yield from _diffs(answers)
    yield from (_verdict(each) for each in comparison.verdicts if each.prompt == prompt.id)


def _diffs(answers: Sequence[Answer]) -> Iterator[str]:
    """The first answer against each of the others."""
    for other in answers[1:]:
        yield f"From {_text(answers[0].contestant)} to {_text(other.contestant)}:"
        yield fenced(Attached("", plain_diff(word_diff(answers[0].answer, other.answer))))


def _verdict(verdict: Verdict) -> str:
    ruling, *reasons = verdict_text(verdict).splitlines()
    return "\n".join([f"- {_text(ruling)}", *(f"  - {_text(each.strip())}" for each in reasons)])


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def _text(text: str) -> str:
    """Text without meaning for Markdown."""
    return _MARKUP.sub(r"\\\1", text)
