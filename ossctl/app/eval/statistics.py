"""Scores with their uncertainty: how far a figure would move with other questions and other answers.

Questions are the units that are sampled. Repeats of one question resemble each other, so they are a cluster
and count as independent answers only as far as they differ: Miller, "Adding Error Bars to Evals" (2024,
arXiv 2411.00640). All intervals are 95 % intervals.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb, isclose, sqrt
from statistics import fmean

from ossctl.app.eval.results import Sample, TaskResult
from ossctl.app.quantiles import Z, student


@dataclass(frozen=True)
class Estimate:
    """A share from 0 to 1, and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A difference of two shares, from -1 to 1, and its 95 % interval. Both were asked `n_questions`."""

    value: float
    low: float
    high: float
    n_questions: int

    @property
    def conclusive(self) -> bool:
        """Whether the interval leaves out 0: chance alone rarely makes such a difference."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Outcomes:
    """How many answers ended how. Truncated and failed ones are not correct, and not wrong either."""

    correct: int
    wrong: int
    truncated: int
    failed: int

    @property
    def total(self) -> int:
        return self.correct + self.wrong + self.truncated + self.failed


def count_outcomes(result: TaskResult) -> Outcomes:
    counts = Counter(sample.outcome for sample in result.samples)
    return Outcomes(counts["correct"], counts["wrong"], counts["truncated"], counts["failed"])


def mean_score(result: TaskResult) -> Estimate | None:
    """The mean over questions of their mean scores. If there are no samples, None."""
    return _estimate(list(_scores(result).values()))


def pass_at(result: TaskResult, k: int) -> Estimate | None:
    """The chance that at least one of `k` answers is correct.

    The unbiased estimator of Chen et al., "Evaluating Large Language Models Trained on Code" (2021,
    arXiv 2107.03374): 1 - C(n - c, k) / C(n, k) for c correct answers of n. If a question has fewer than `k`
    answers, or answers can be partly correct, None.
    """
    questions = list(_scores(result).values())
    if not _binary(questions) or any(len(scores) < k for scores in questions):
        return None
    return _estimate(
        [[1 - comb(len(scores) - round(sum(scores)), k) / comb(len(scores), k)] for scores in questions]
    )


def majority(result: TaskResult) -> Estimate | None:
    """The share of questions whose most frequent answer is correct: maj@k, or cons@k, for k repeats.

    A tie counts as the chance that a random pick is correct. Answers of several lines (programs, prose)
    hardly ever coincide, and a question that was asked once has no majority: then None.
    """
    questions: dict[str, list[Sample]] = {}
    for sample in result.samples:
        questions.setdefault(sample.id, []).append(sample)
    votable = all("\n" not in sample.given for sample in result.samples)
    if not votable or not _binary(_scores(result).values()) or any(len(of) < 2 for of in questions.values()):
        return None
    return _estimate([[_vote(samples)] for samples in questions.values()])


def difference(first: TaskResult, second: TaskResult) -> Difference | None:
    """`first` minus `second` on the questions that both were asked. If there are none, None.

    Pairing removes what questions differ in difficulty. The interval is that of Bonett and Price, "Adjusted
    Wald Confidence Interval for a Difference of Binomial Proportions Based on Paired Data" (2012), which adds
    one disagreement in each direction. With repeats, a disagreement is one answer.
    """
    mine, other = _scores(first), _scores(second)
    common = [question for question in mine if question in other]
    if not common:
        return None
    differences = [fmean(mine[question]) - fmean(other[question]) for question in common]
    one = 1 / min(len(scores[question]) for question in common for scores in (mine, other))
    adjusted = [*differences, one, -one]
    value, middle = fmean(differences), fmean(adjusted)
    half = Z * sqrt((fmean(d * d for d in adjusted) - middle**2) / len(adjusted))
    return Difference(
        value,
        max(-1.0, min(middle - half, value)),
        min(1.0, max(middle + half, value)),
        len(common),
    )


def difference_to(
    score: Estimate, published: float, n_questions: int | None, repeats: int | None
) -> Difference:
    """`score` minus a figure that was published for `n_questions`, each asked `repeats` times.

    Both are on the same questions, so what is left of the published figure's noise is that of its sampled
    answers, at most that of independent ones. Newcombe's method 10 (1998, "Interval estimation for the
    difference between independent proportions") joins the two. If `n_questions` is not known, the figure
    counts as exact, and unknown repeats count as one.
    """
    low = high = published
    if n_questions:
        low, high = wilson(published, n_questions * (repeats or 1))
    value = score.value - published
    down = sqrt((score.value - score.low) ** 2 + (high - published) ** 2)
    up = sqrt((score.high - score.value) ** 2 + (published - low) ** 2)
    return Difference(value, max(-1.0, value - down), min(1.0, value + up), n_questions or 0)


def wilson(share: float, n: float) -> tuple[float, float]:
    """The score interval of Wilson (1927) for a share of `n` independent answers, which need not be whole."""
    scale = 1 + Z**2 / n
    middle = (share + Z**2 / (2 * n)) / scale
    half = Z * sqrt(share * (1 - share) / n + Z**2 / (4 * n * n)) / scale
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def _estimate(questions: list[list[float]]) -> Estimate | None:
    if not questions:
        return None
    value = min(1.0, fmean(fmean(scores) for scores in questions))
    return Estimate(value, *wilson(value, _effective_answers(questions, value)))


def _effective_answers(questions: list[list[float]], value: float) -> float:
    """How many independent answers are as certain as these: Korn and Graubard (1998), for clustered samples.

    At least one a question, since no scores from 0 to 1 vary more. If all are 0 or 1, at most all answers.
    """
    n = len(questions)
    means = [fmean(scores) for scores in questions]
    variance = sum((mean - value) ** 2 for mean in means) / (n - 1) / n if n > 1 else 0.0
    binary = _binary(questions)
    n_answers = sum(len(scores) for scores in questions)
    if isclose(variance, 0, abs_tol=1e-12):
        agree = not binary or value in {0, 1}
        return n if agree else n_answers
    effective = value * (1 - value) / variance * (Z / student(n - 1)) ** 2
    return max(n, min(effective, n_answers) if binary else effective)


def _vote(samples: Sequence[Sample]) -> float:
    """Answers that are correct equal the target, so they are one answer, however they are written."""
    voters = [sample for sample in samples if sample.outcome in {"correct", "wrong"}]
    votes = Counter("" if sample.outcome == "correct" else sample.given for sample in voters)
    if not votes:
        return 0.0
    most = max(votes.values())
    leaders = [given for given, count in votes.items() if count == most]
    return ("" in leaders) / len(leaders)


def _scores(result: TaskResult) -> dict[str, list[float]]:
    questions: dict[str, list[float]] = {}
    for sample in result.samples:
        questions.setdefault(sample.id, []).append(sample.score)
    return questions


def _binary(questions: Iterable[Sequence[float]]) -> bool:
    return all(score in {0, 1} for scores in questions for score in scores)
