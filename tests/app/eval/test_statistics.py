"""Scores and their intervals, against values of the literature and exact counts."""

from itertools import combinations
from math import sqrt
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossctl.app.eval.results import Outcome, Sample
from ossctl.app.eval.statistics import (
    Estimate,
    count_outcomes,
    difference,
    difference_to,
    majority,
    mean_score,
    pass_at,
    wilson,
)
from ossctl.app.quantiles import student
from tests.support.evaluations import result, result_of

# the scores of the repeats of each question
QUESTIONS = st.integers(1, 4).flatmap(
    lambda k: st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=k, max_size=k), min_size=1, max_size=12)
)
PARTIAL = st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=3), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [  # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_a_question_asked_once_gives_wilsons_interval(correct: int, n: int, low: float, high: float) -> None:
    score = mean_score(result_of([[1.0]] * correct + [[0.0]] * (n - correct)))

    assert score is not None
    assert score.value == pytest.approx(correct / n)
    assert score.low == pytest.approx(low, abs=5e-5)
    assert score.high == pytest.approx(high, abs=5e-5)


def test_one_answer_says_little_and_no_answer_nothing() -> None:
    score = mean_score(result_of([[1.0]]))

    assert score is not None
    assert score.low == pytest.approx(0.2065, abs=1e-4)
    assert score.high == 1
    assert mean_score(result_of([])) is None


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (10, 2.228), (29, 2.045), (100, 1.984)],
)
def test_students_quantile_is_that_of_the_tables(degrees: int, quantile: float) -> None:
    assert student(degrees) == pytest.approx(quantile, rel=0.002)


def test_repeats_that_differ_within_questions_count_as_answers_of_their_own() -> None:
    steady = mean_score(result_of([[1.0] * 4] * 15 + [[0.0] * 4] * 15))
    mixed = mean_score(result_of([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]] * 15))

    assert steady is not None
    assert mixed is not None
    assert steady.value == mixed.value == 0.5
    assert (steady.low, steady.high) == wilson(0.5, 30)
    assert (mixed.low, mixed.high) == wilson(0.5, 120)


def test_the_clustered_interval_is_millers_where_the_sample_is_large() -> None:
    questions = [[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]] * 500
    score = mean_score(result_of(questions))
    # Miller (2024), equation 4: the square root of the sum over all pairs of answers of one question, over n
    mean = fmean(answer for scores in questions for answer in scores)
    pairs = sum((a - mean) * (b - mean) for scores in questions for a in scores for b in scores)
    error = sqrt(pairs) / 4000

    assert score is not None
    assert score.value - score.low == pytest.approx(1.96 * error, rel=0.02)
    assert score.high - score.value == pytest.approx(1.96 * error, rel=0.02)


@given(QUESTIONS)
def test_asking_again_with_the_same_answers_changes_nothing(questions: list[list[float]]) -> None:
    once = [[scores[0]] for scores in questions]

    assert mean_score(result_of(once)) == mean_score(result_of([scores * 5 for scores in once]))


@given(st.one_of(QUESTIONS, PARTIAL))
def test_an_interval_holds_its_value_within_0_and_1_and_mirrors(questions: list[list[float]]) -> None:
    score = mean_score(result_of(questions))
    mirrored = mean_score(result_of([[1 - answer for answer in scores] for scores in questions]))

    assert score is not None
    assert mirrored is not None
    assert 0 <= score.low <= score.value <= score.high <= 1
    assert score.low < score.high
    assert mirrored.low == pytest.approx(1 - score.high, abs=1e-6)


def test_95_of_100_intervals_hold_the_true_score() -> None:
    random = Random(1)
    held = 0
    for _ in range(400):
        easy = [random.betavariate(1.6, 0.4) for _ in range(30)]  # 80 % on average
        score = mean_score(result_of([[float(random.random() < p) for _ in range(4)] for p in easy]))
        assert score is not None
        held += score.low <= 0.8 <= score.high

    assert 370 <= held <= 392


def test_partly_correct_answers_that_vary_little_give_a_narrow_interval() -> None:
    score = mean_score(result_of([[0.5], [0.52], [0.48], [0.5]] * 25))

    assert score is not None
    assert score.high - score.low < 0.02


def test_truncated_and_failed_answers_are_not_correct_and_counted_apart() -> None:
    outcomes: list[Outcome] = ["correct", "wrong", "truncated", "failed", "truncated"]
    mixed = result(
        Sample(id=str(i), outcome=outcome, score=float(outcome == "correct"), target="1", given="")
        for i, outcome in enumerate(outcomes)
    )
    counts = count_outcomes(mixed)
    score = mean_score(mixed)

    assert (counts.correct, counts.wrong, counts.truncated, counts.failed, counts.total) == (1, 1, 2, 1, 5)
    assert score is not None
    assert score.value == 0.2


@given(QUESTIONS, st.integers(1, 4))
def test_pass_at_k_is_the_share_of_all_picks_of_k_with_a_correct_answer(
    questions: list[list[float]], k: int
) -> None:
    estimate = pass_at(result_of(questions), k)
    if k > len(questions[0]):
        assert estimate is None
        return
    picks = [fmean(max(pick) for pick in combinations(scores, k)) for scores in questions]

    assert estimate is not None
    assert estimate.value == pytest.approx(fmean(picks))


def test_pass_at_k_needs_answers_that_are_right_or_wrong() -> None:
    assert pass_at(result_of([[0.5, 1.0]]), 2) is None


def votes(*given: str, target: str = "7") -> list[Sample]:
    return [
        Sample(
            id=target,
            epoch=epoch,
            outcome="truncated" if not text else "correct" if text.lstrip("0") == target else "wrong",
            score=float(text.lstrip("0") == target),
            target=target,
            given=text,
        )
        for epoch, text in enumerate(given, 1)
    ]


@pytest.mark.parametrize(
    ("given", "share"),
    [
        (("7", "7", "8"), 1.0),
        (("7", "8", "8"), 0.0),
        (("7", "8"), 0.5),
        (("7", "07", "8", "8", "9"), 0.5),  # 7 and 07 are one answer
        (("7", "", ""), 1.0),  # what is truncated has no vote
        (("", ""), 0.0),
    ],
)
def test_the_majority_is_the_most_frequent_answer(given: tuple[str, ...], share: float) -> None:
    estimate = majority(result(votes(*given)))

    assert estimate is not None
    assert estimate.value == share


def test_programs_and_single_answers_have_no_majority() -> None:
    assert majority(result(votes("7"))) is None
    assert majority(result(votes("def f():\n    return 7", "7"))) is None


def test_a_paired_difference_is_that_of_bonett_and_price() -> None:
    # of 100 questions, 20 only the first answered, 8 only the second
    first = result_of([[1.0]] * 50 + [[1.0]] * 20 + [[0.0]] * 8 + [[0.0]] * 22)
    second = result_of([[1.0]] * 50 + [[0.0]] * 20 + [[1.0]] * 8 + [[0.0]] * 22)
    found = difference(first, second)
    p12, p21 = 21 / 102, 9 / 102
    half = 1.959964 * sqrt((p12 + p21 - (p12 - p21) ** 2) / 102)

    assert found is not None
    assert found.n_questions == 100
    assert found.value == pytest.approx(0.12)
    assert found.low == pytest.approx(p12 - p21 - half)
    assert found.high == pytest.approx(p12 - p21 + half)
    assert found.conclusive


def test_pairing_shows_what_two_intervals_that_overlap_hide() -> None:
    first = result_of([[1.0]] * 60 + [[0.0]] * 40)
    second = result_of([[1.0]] * 50 + [[0.0]] * 50)
    mine, other, found = mean_score(first), mean_score(second), difference(first, second)

    assert mine is not None
    assert other is not None
    assert found is not None
    assert mine.low < other.high
    assert found.conclusive


@given(QUESTIONS)
def test_a_difference_turns_with_its_sides_and_holds_its_value(questions: list[list[float]]) -> None:
    first, second = result_of(questions), result_of(questions[::-1])
    found, turned, none = difference(first, second), difference(second, first), difference(first, first)

    assert found is not None
    assert turned is not None
    assert none is not None
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert turned.value == pytest.approx(-found.value)
    assert turned.low == pytest.approx(-found.high)
    assert not none.conclusive


def test_results_without_a_common_question_have_no_difference() -> None:
    assert difference(result(votes("7", target="a")), result(votes("7", target="b"))) is None


def test_the_difference_to_a_published_figure_is_newcombes() -> None:
    # Newcombe (1998), table II, method 10: 56 of 70 against 48 of 80
    found = difference_to(Estimate(56 / 70, *wilson(56 / 70, 70)), 48 / 80, 80, 1)

    assert found.low == pytest.approx(0.0524, abs=5e-5)
    assert found.high == pytest.approx(0.3339, abs=5e-5)


def test_a_published_figure_of_unknown_size_counts_as_exact() -> None:
    score = Estimate(0.8, 0.7, 0.88)

    assert not difference_to(score, 0.86, None, None).conclusive
    assert difference_to(score, 0.89, None, None).conclusive


def test_a_published_figure_of_few_questions_has_noise_of_its_own() -> None:
    score = Estimate(0.80, 0.78, 0.82)

    assert difference_to(score, 0.9, 30, 64).conclusive
    assert not difference_to(score, 0.9, 30, None).conclusive
