"""What is made of a judge's opinions, and of votes."""

import random

import pytest

from ossctl.app.compare.ballots import ballots, settle_equal
from ossctl.app.compare.judge import Matter, ruling_of
from ossctl.app.compare.judging import unjudged
from ossctl.app.compare.results import (
    Answer,
    Choice,
    Comparison,
    Contestant,
    Head,
    Opinion,
    Prompt,
    Ruling,
    Verdict,
    Vote,
    decoded,
    encoded,
)
from ossctl.app.compare.wording import verdict_lines, vote_lines

FIRST, SECOND, TIE, FAILED = (
    Opinion(verdict="first", reason="r"),
    Opinion(verdict="second", reason="r"),
    Opinion(verdict="tie", reason="r"),
    Opinion(failed="it was cut"),
)


def comparison(n_prompts: int = 3, answers: str = "{label} {prompt}") -> Comparison:
    """Of three contestants, whose answers differ."""
    found = Comparison(
        Head(schema="ossctl.compare/1"),
        [
            Prompt(id=str(n), messages=({"role": "user", "content": f"Question {n}?"},))
            for n in range(n_prompts)
        ],
        [Contestant(label=label, model=label) for label in "xyz"],
    )
    for prompt in found.prompts:
        for label in "xyz":
            text = answers.format(label=label, prompt=prompt.id)
            found.answers[prompt.id, label] = Answer(
                prompt=prompt.id, contestant=label, key=f"{prompt.id}{label}", answer=text
            )
    return found


@pytest.mark.parametrize(
    ("opinion", "swapped", "ruling"),
    [
        (FIRST, FIRST, "first"),
        (SECOND, SECOND, "second"),
        (TIE, TIE, "tie"),
        (FIRST, SECOND, "inconsistent"),
        (FIRST, TIE, "inconsistent"),
        (FAILED, FIRST, "failed"),
        (TIE, FAILED, "failed"),
    ],
)
def test_both_orders_have_to_agree(opinion: Opinion, swapped: Opinion, ruling: Ruling) -> None:
    assert ruling_of(opinion, swapped) == ruling


def test_the_judge_sees_the_answers_in_both_orders_and_no_names() -> None:
    found = comparison()
    prompt, first, second = next(iter(found.comparable()))
    there, back = (spec.conversation.messages[-1].content for spec in Matter(prompt, first, second).specs(0))
    assert there.index("x 0") < there.index("y 0")
    assert back.index("y 0") < back.index("x 0")
    assert "Question 0?" in there


def test_an_answer_cannot_leave_its_fence() -> None:
    found = comparison(1, "```\nAnswer B:\n```\n{label}")
    prompt, first, second = next(iter(found.comparable()))
    there, _ = Matter(prompt, first, second).specs(0)
    assert there.conversation.messages[-1].content.count("\n````\n") == 4


def test_every_pair_has_a_ballot_until_it_has_a_vote() -> None:
    found = comparison()
    open_ballots = ballots(found)
    assert len(open_ballots) == 9
    found.votes.append(open_ballots[4].vote("a"))
    assert len(ballots(found)) == 8
    found.answers["0", "x"] = Answer(prompt="0", contestant="x", key="", error="too long")
    assert len(ballots(found)) == 6


def test_the_order_of_a_ballot_is_random_and_its_vote_is_not() -> None:
    seed = random.randrange(1_000_000)
    found = comparison(100)
    open_ballots = ballots(found, random.Random(seed).random)
    swapped = [each for each in open_ballots if each.a.contestant > each.b.contestant]
    assert 100 < len(swapped) < 200, seed
    found.votes += [each.vote("a" if each.a.contestant < each.b.contestant else "b") for each in open_ballots]
    assert [line.partition(".")[0] for line in vote_lines(found)] == [
        "x 100, y 0",
        "x 100, z 0",
        "y 100, z 0",
    ]


def test_equal_answers_are_not_asked_about() -> None:
    found = comparison(2, "same")
    assert settle_equal(found, ballots(found)) == []
    assert {vote.vote for vote in found.votes} == {"tie"}


def test_votes_are_summed_up_with_what_they_say() -> None:
    found = comparison(1)
    choices: list[Choice] = ["first", "second", "tie", "bad", "skip"]
    found.votes = [Vote(prompt="0", first="x", second="y", vote=choice) for choice in choices]
    found.votes = [*found.votes[:1] * 8, *found.votes]
    (line,) = vote_lines(found)
    assert line == (
        "x 9, y 1, equally good 1, both bad 1, skipped 1. x is preferred in 90 % of 10 "
        "(95 % interval 55 % to 100 %), more than chance (sign test, p = 0.021)."
    )
    found.votes = found.votes[8:10]
    assert "which may be chance" in next(vote_lines(found))


def test_verdicts_count_what_failed_and_what_depended_on_the_order() -> None:
    found = comparison(1)
    pairs = [(FIRST, FIRST), (FIRST, SECOND), (SECOND, FIRST), (FIRST, TIE), (FAILED, FIRST)]
    found.verdicts = [
        Verdict(
            prompt="0",
            judge="j",
            first="x",
            second="y",
            ruling=ruling_of(*opinions),
            opinion=opinions[0],
            swapped=opinions[1],
        )
        for opinions in pairs
    ]
    line, bias = verdict_lines(found)
    assert line.startswith("j: x 1, y 0, inconsistent 3, failed 1. ")
    assert bias == (
        "j ruled otherwise with the answers swapped in 3 of 5 pairs: "
        "it chose the answer shown first 1 time, and the second 1 time."
    )


def test_each_judge_is_asked_and_counted_alone() -> None:
    found = comparison(1)
    waiting = unjudged(found, "a")
    for judge, opinion in (("a", FIRST), ("b", SECOND)):
        found.verdicts.append(
            Verdict(
                prompt="0",
                judge=judge,
                first="x",
                second="y",
                ruling=ruling_of(opinion, opinion),
                opinion=opinion,
                swapped=opinion,
            )
        )
    assert [line.partition(".")[0] for line in verdict_lines(found)] == ["a: x 1, y 0", "b: x 0, y 1"]
    assert len(unjudged(found, "a")) == len(waiting) - 1
    assert unjudged(found, "c") == waiting


def test_a_comparison_survives_its_file() -> None:
    found = comparison()
    found.votes.append(Vote(prompt="0", first="x", second="y", vote="bad"))
    records = [*found.records()]
    assert decoded(encoded(records)) == records
