"""Pairs of answers to vote on, without the names of their contestants."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ossctl.app.compare.results import Answer, Choice, Comparison, Prompt, Vote

Mark = Literal["a", "b", "tie", "bad", "skip"]


@dataclass(frozen=True)
class Ballot:
    """Two answers to a prompt, shown as A and B."""

    prompt: Prompt
    a: Answer
    b: Answer

    def vote(self, mark: Mark) -> Vote:
        """The vote that a mark on this ballot means."""
        choices: dict[Mark, Choice] = {
            "a": "first",
            "b": "second",
            "tie": "tie",
            "bad": "bad",
            "skip": "skip",
        }
        return Vote(
            prompt=self.prompt.id,
            first=self.a.contestant,
            second=self.b.contestant,
            vote=choices[mark],
        )


def ballots(comparison: Comparison, chance: Callable[[], float] = random.random) -> list[Ballot]:
    """The pairs of answers that have no vote, each in a random order. The prompts keep theirs."""
    voted = {(each.prompt, frozenset((each.first, each.second))) for each in comparison.votes}
    open_pairs = (
        each
        for each in comparison.comparable()
        if (each[0].id, frozenset((each[1].contestant, each[2].contestant))) not in voted
    )
    return [
        Ballot(prompt, *((first, second) if chance() < 0.5 else (second, first)))
        for prompt, first, second in open_pairs
    ]


def settle_equal(comparison: Comparison, open_ballots: list[Ballot]) -> list[Ballot]:
    """Count answers that are the same, word for word, as equally good; return the other ballots."""
    equal = [each for each in open_ballots if each.a.answer.strip() == each.b.answer.strip()]
    comparison.votes += [each.vote("tie") for each in equal]
    return [each for each in open_ballots if each not in equal]
