"""How results are put into words and tables, for all forms of output."""

from collections import Counter
from collections.abc import Iterator, Sequence

from ossctl.app.compare.preference import SIGNIFICANT, Preference
from ossctl.app.compare.results import Answer, Comparison, Contestant, Pair, Verdict
from ossctl.app.inference.finish import AnswerFinish
from ossctl.text import counted

_SUMMARY = ("", "answers", "cut", "failed", "tokens", "reasoning", "first token", "per answer", "speed")

_IF_ANY = ("cut", "failed", "reasoning")  # columns that are left out if they are 0 everywhere
_ENDINGS = {
    AnswerFinish.LENGTH: "cut off at the token limit{where}",
    AnswerFinish.REPETITION: "stopped{where}, because it repeated itself",
    AnswerFinish.REFUSAL: "refused",
    AnswerFinish.EMPTY: "no answer",
    AnswerFinish.TOOL_CALLS: "ended with a call of {calls}",
}

_OTHER_CHOICES = {
    "tie": "equally good",
    "bad": "both bad",
    "skip": "skipped",
    "inconsistent": "inconsistent",
    "failed": "failed",
}


def ending_of(answer: Answer) -> str:
    """What is wrong with how an answer ended, or ""."""
    if answer.error:
        return f"failed: {answer.error}"
    calls = ", ".join(str(call["name"]) for call in answer.tool_calls)
    return _ENDINGS.get(answer.finish_reason or AnswerFinish.STOP, "").format(
        where="" if answer.answer else " in its reasoning", calls=calls
    )


def figures_of(answer: Answer) -> str:
    """`59 tokens, 42 of them reasoning · first 0.11 s, all 0.17 s · 355 tokens/s`"""
    tokens = f"{answer.completion_tokens:,} token{'' if answer.completion_tokens == 1 else 's'}"
    if answer.reasoning_tokens:
        tokens += f", {answer.reasoning_tokens:,} of them reasoning"
    parts = [tokens, f"first {seconds(answer.first_token_seconds)}, all {seconds(answer.seconds)}"]
    if answer.tokens_per_second is not None:
        parts.append(f"{answer.tokens_per_second:,.1f} tokens/s")
    return " · ".join(parts)


def notes_of(answer: Answer) -> list[str]:
    """The lines below an answer."""
    figures = [figures_of(answer)] if answer.completion_tokens else []
    return [*figures, *filter(None, [ending_of(answer)])]


def seconds(value: float) -> str:
    """`0.042 s`, `1.3 s`, `75 s`"""
    digits = 0 if value >= 60 else 1 if value >= 1 else 3 if value < 0.1 else 2
    return f"{value:,.{digits}f} s"


def summary_table(comparison: Comparison) -> list[tuple[str, ...]]:
    """A head, and a row for each contestant. Times are means, the speed is of all answers together."""
    rows = [_row(each, comparison.answers_of(each.label)) for each in comparison.contestants]
    shown = [
        column
        for column in zip(_SUMMARY, *rows, strict=True)
        if column[0] not in _IF_ANY or any(cell != "0" for cell in column[1:])
    ]
    return list(zip(*shown, strict=True))


def _row(contestant: Contestant, answers: Sequence[Answer]) -> tuple[str, ...]:
    good = [answer for answer in answers if not answer.error]
    tokens = sum(answer.completion_tokens for answer in good)
    return (
        contestant.label,
        f"{len(good):,}",
        f"{sum(answer.cut for answer in good):,}",
        f"{len(answers) - len(good):,}",
        f"{tokens:,}",
        f"{sum(answer.reasoning_tokens for answer in good):,}",
        seconds(_mean([answer.first_token_seconds for answer in good])) if good else "",
        seconds(_mean([answer.seconds for answer in good])) if good else "",
        f"{tokens / contestant.seconds:,.1f} tokens/s" if contestant.seconds and tokens else "",
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def vote_lines(comparison: Comparison) -> Iterator[str]:
    """What the votes say of each pair."""
    yield from _tallies(comparison, [(each.first, each.second, each.vote) for each in comparison.votes])


def verdict_lines(comparison: Comparison) -> Iterator[str]:
    """What each judge says of each pair, and how often it preferred a place rather than an answer."""
    for judge in dict.fromkeys(each.judge for each in comparison.verdicts):
        verdicts = [each for each in comparison.verdicts if each.judge == judge]
        rulings = [(each.first, each.second, each.ruling) for each in verdicts]
        yield from (f"{judge}: {line}" for line in _tallies(comparison, rulings))
        yield from _position_bias(judge, verdicts)


def verdict_text(verdict: Verdict) -> str:
    """The ruling on a pair, and the reasons, a line each."""
    names = {"first": verdict.first, "second": verdict.second, "tie": "equally good"}
    ruling = names.get(verdict.ruling, verdict.ruling)
    lines = [f"{verdict.judge} on {verdict.first} and {verdict.second}: {ruling}"]
    orders = (f"{verdict.first} shown first", f"{verdict.second} shown first")
    for order, opinion in zip(orders, (verdict.opinion, verdict.swapped), strict=True):
        said = opinion.failed or f"{names[opinion.verdict or 'tie']}. {opinion.reason}"
        lines.append(f"  {order}: {' '.join(said.split())}")
    return "\n".join(lines)


def _position_bias(judge: str, verdicts: Sequence[Verdict]) -> Iterator[str]:
    inconsistent = [each for each in verdicts if each.ruling == "inconsistent"]
    if inconsistent:
        times = Counter(each.opinion.verdict for each in inconsistent if each.swapped.verdict != "tie")
        first, second = times["first"], times["second"]
        yield (
            f"{judge} ruled otherwise with the answers swapped in {len(inconsistent)} of "
            f"{counted(len(verdicts), 'pair')}: it chose the answer shown first {counted(first, 'time')}, "
            f"and the second {counted(second, 'time')}."
        )


def _tallies(comparison: Comparison, choices: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """What choices between contestants, (first, second, choice), say of each pair."""
    for pair in comparison.pairs():
        counts = Counter(
            _turned(choice, (first, second), pair)
            for first, second, choice in choices
            if {first, second} == {*pair}
        )
        if counts:
            others = {name: counts[choice] for choice, name in _OTHER_CHOICES.items()}
            yield _preference(pair, Preference(counts["first"], counts["second"]), others)


def _turned(choice: str, given: Pair, pair: Pair) -> str:
    """A choice between `given`, as one between `pair`."""
    turned = {"first": "second", "second": "first"}
    return choice if given == pair else turned.get(choice, choice)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _preference(pair: Pair, preference: Preference, others: dict[str, int]) -> str:
    """`nano 3, SmolLM2 1, both bad 2. nano is preferred in 75% of 4 (…), which may be chance (…).`"""
    first, second = pair
    counts = [f"{first} {preference.wins}", f"{second} {preference.losses}"]
    counts += [f"{name} {count}" for name, count in others.items() if count]
    if not preference.decided:
        return f"{', '.join(counts)}."
    ahead = preference.wins >= preference.losses
    if not ahead:
        preference = Preference(preference.losses, preference.wins)
    low, high = preference.interval
    chance = (
        f"more than chance (sign test, p = {preference.p_value:.2g})"
        if preference.p_value < SIGNIFICANT
        else f"which may be chance (sign test, p = {preference.p_value:.2g})"
    )
    return (
        f"{', '.join(counts)}. {first if ahead else second} is preferred in {_percent(preference.rate)} of "
        f"{preference.decided} (95 % interval {_percent(low)} to {_percent(high)}), {chance}."
    )
