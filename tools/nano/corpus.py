"""Conversations for training and evaluating nano: endless, by a seed, with the right answers."""

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ossctl.dialect import Conversation, Effort, Message, ToolCall, ToolChoice
from tools.nano.draw import Draw
from tools.nano.kinds import actions, arithmetic, calls, extract, facts, follow, recall, small_talk, spelling
from tools.nano.kinds.follow import Rule
from tools.nano.split import Wordings
from tools.nano.turn import Analysis, Offer, Turn


@dataclass(frozen=True)
class Sample:
    """A conversation and what to answer. `reasoning` is the analysis to write, "" for none."""

    kind: str
    conversation: Conversation
    reasoning: str
    answer: str | ToolCall


@dataclass(frozen=True)
class Plan:
    """What a conversation is to end with: a turn of a kind, with tools and under a rule."""

    kind: str
    effort: Effort | None
    turn: Turn
    offers: tuple[Offer, ...]
    rule: Rule | None


_TEXTS: Mapping[str, Callable[[Draw], Turn]] = {
    "add": arithmetic.add,
    "subtract": arithmetic.subtract,
    "upper": spelling.upper,
    "reverse": spelling.reverse,
    "count": spelling.count,
    "facts": facts.facts,
    "recall": recall.recall,
    "extract": extract.extract,
    "refuse": small_talk.refuse,
    "greet": small_talk.greet,
}
_OFFERS: Mapping[str, Callable[[Draw], Offer]] = {
    "call_weather": calls.weather_offer,
    "call_calculator": calls.calculator_offer,
    "call_search": calls.search_offer,
    "call_other": actions.action_offer,
}
# What is harder to learn is asked more often.
_SHARES = {
    "add": 9,
    "subtract": 11,
    "upper": 6,
    "reverse": 8,
    "count": 7,
    "facts": 5,
    "recall": 9,
    "extract": 8,
    "call_weather": 4,
    "call_calculator": 6,
    "call_search": 4,
    "call_other": 6,
    "result": 6,
    "refuse": 5,
    "greet": 2,
    "follow": 13,
}
KINDS: tuple[str, ...] = tuple(_SHARES)
_RELATIVES = 3
# A family of these kinds has several samples.
_FAMILY_SHARES = {
    kind: share / (1 + _RELATIVES * (kind.startswith("call_") or kind in ("result", "follow", "extract")))
    for kind, share in _SHARES.items()
}
WORDINGS: tuple[Wordings, ...] = tuple(
    ways
    for module in (actions, arithmetic, calls, extract, facts, follow, recall, small_talk, spelling)
    for ways in module.WORDINGS
)

_EFFORTS: tuple[Effort | None, ...] = (
    *(7 * ("low",)),
    *(5 * ("medium",)),
    *(3 * (None,)),
    *(5 * ("high",)),
)
_FILLING = ("add", "subtract", "upper", "reverse", "count", "facts", "facts", "greet", "refuse", "telling")
_WORKED = ("add", "subtract", "count")  # at low effort the answer is the working, for there is no analysis
_RULED = ("add", "subtract", "facts", "facts", "facts", "greet")
_SHARE_OF_LONG = 0.25  # with the turns that recall looks back to, a third has earlier turns
_MOST_WORDS = 160


def samples(seed: int, *, held_out: bool) -> Iterator[Sample]:
    """Endless; `held_out` draws numbers, names, words and wordings that the others never use."""
    draw = Draw(seed, held_out=held_out)
    while True:
        yield make_sample(draw)


def families(seed: int) -> Iterator[list[Sample]]:
    """The training's samples; those of a family have the same system and developer messages."""
    draw = Draw(seed, held_out=False)
    while True:
        plan = make_plan(draw, _FAMILY_SHARES)
        yield [_conversed(draw, plan), *(_conversed(draw, other) for other in _relatives(draw, plan))]


def make_sample(draw: Draw) -> Sample:
    return _conversed(draw, make_plan(draw, _SHARES))


def make_plan(draw: Draw, shares: Mapping[str, float]) -> Plan:
    kind = draw.random.choices(tuple(shares), list(shares.values()))[0]
    effort = draw.one(_EFFORTS)
    rule = follow.plain(draw) if draw.chance(0.08) else None
    if kind == "follow":
        return Plan(kind, effort, _ruled_turn(draw, effort), (), follow.rule(draw))
    if kind in _TEXTS:
        turn = _text_turn(draw, kind, effort)
        offers = _offers(draw, (), turn.unfit, draw.one((0, 0, 0, 0, 1)))
        return Plan(kind, effort, turn, offers, rule)
    own = _OFFERS[draw.one(tuple(_OFFERS)) if kind == "result" else kind](draw)
    offers = _offers(draw, (own,), frozenset(), draw.one((0, 1, 1, 2)))
    return Plan(kind, effort, own.ask(draw), offers, rule)


def _relatives(draw: Draw, plan: Plan) -> Iterator[Plan]:
    """More to ask under the same system and developer messages."""
    for _ in range(_RELATIVES):
        if plan.kind == "follow":
            yield replace(plan, turn=_ruled_turn(draw, plan.effort))
        elif plan.turn.form is not None:
            yield replace(plan, turn=extract.again(draw, plan.turn))
        elif plan.offers and draw.chance(0.75):
            kind = "result" if draw.chance(0.25) else "call_other"
            yield replace(plan, kind=kind, turn=draw.one(plan.offers).ask(draw))
        elif plan.offers or plan.rule is not None:
            kind = draw.one(tuple(_TEXTS))
            turn = _text_turn(draw, kind, plan.effort)
            if turn.form is None and not turn.unfit & {offer.purpose for offer in plan.offers}:
                yield replace(plan, kind=kind, turn=turn)


def is_right(sample: Sample, content: str, calls: Sequence[ToolCall]) -> bool:
    """Whether a final text and calls are the sample's answer; a last full stop is as one likes."""
    expected = sample.answer
    if isinstance(expected, ToolCall):
        return (
            len(calls) == 1
            and calls[0].name == expected.name
            and _same_json(calls[0].arguments, expected.arguments)
        )
    if calls:
        return False
    if sample.conversation.json_format is not None:
        return _same_json(content, expected)
    return content.strip().removesuffix(".") == expected.removesuffix(".")


def _text_turn(draw: Draw, kind: str, effort: Effort | None) -> Turn:
    turn = recall.telling(draw) if kind == "telling" else _TEXTS[kind](draw)
    return replace(turn, answer=turn.analysis.medium) if effort == "low" and kind in _WORKED else turn


def _ruled_turn(draw: Draw, effort: Effort | None) -> Turn:
    """What is asked under a rule: no working, which would not be the one word that some rules want."""
    return _text_turn(
        draw, draw.one([kind for kind in _RULED if effort != "low" or kind not in _WORKED]), effort
    )


def _offers(draw: Draw, own: tuple[Offer, ...], unfit: frozenset[str], others: int) -> tuple[Offer, ...]:
    """The own ones and others in any order, of different uses and names, none of an unfit use."""
    offers = {offer.tool.name: offer for offer in own}
    purposes = {*unfit, *(offer.purpose for offer in own)}
    while len(offers) < len(own) + others:
        offer = draw.one(tuple(_OFFERS.values()))(draw)
        if offer.purpose not in purposes and offer.tool.name not in offers:
            offers[offer.tool.name] = offer
            purposes.add(offer.purpose)
    return tuple(draw.shuffled(tuple(offers.values())))


def _conversed(draw: Draw, plan: Plan) -> Sample:
    """The plan's turn after those that it rests on and maybe others, under the rule."""
    turn, rule = plan.turn, plan.rule
    messages = [Message("system", rule.instruction)] if rule is not None else []
    for earlier in _earlier(draw, plan):
        messages += _finished(earlier, rule)
    messages.append(Message("user", turn.question))
    answer, analysis = turn.answer, turn.analysis
    if plan.kind == "result":
        assert isinstance(answer, ToolCall)
        assert turn.outcome is not None
        thought = "" if draw.chance(0.3) else _thought(analysis, plan.effort)  # clients may leave it out
        messages.append(Message("assistant", "", thought, calls=(answer,)))
        messages.append(Message("tool", turn.outcome.result, tool=answer.name))
        answer, analysis = turn.outcome.answer, turn.outcome.analysis
    elif rule is not None and isinstance(answer, str):
        answer, analysis = rule.obeyed(turn), follow.noted(analysis, rule)
    conversation = Conversation(
        tuple(messages),
        tuple(offer.tool for offer in plan.offers),
        _choice(draw, answer),
        None if turn.form is None else turn.form.json_format,
        plan.effort,
        None if draw.chance(0.4) else dt.date(2024, 1, 1) + dt.timedelta(days=draw.number(0, 2000)),
    )
    return Sample(plan.kind, conversation, _thought(analysis, plan.effort), answer)


def _earlier(draw: Draw, plan: Plan) -> list[Turn]:
    """The finished turns before this one, those that it rests on among them."""
    turn, turns = plan.turn, list(plan.turn.told)
    if not draw.chance(_SHARE_OF_LONG):
        return turns
    present = {*turn.tells, *(offer.purpose for offer in plan.offers)}
    for _ in range(draw.number(1, max(1, 6 - len(turns)))):
        if plan.offers and draw.chance(0.5):
            other = draw.one(plan.offers).ask(draw)
        elif plan.kind == "extract" and draw.chance(0.4):
            other = extract.again(draw, turn)
        elif plan.kind == "follow":
            other = _ruled_turn(draw, plan.effort)
        else:
            other = _text_turn(draw, draw.one(_FILLING), plan.effort)
        if other.unfit & present or other.tells & (turn.unfit | turn.tells):
            continue
        position = draw.number(0, len(turns))
        longer = [*turns[:position], other, *turns[position:]]
        if _length(turn, longer) > _MOST_WORDS:
            break
        present |= other.tells
        turns = longer
    return turns


def _finished(turn: Turn, rule: Rule | None) -> list[Message]:
    """The messages of a turn that got its answer."""
    asked = Message("user", turn.question)
    if isinstance(turn.answer, str):
        return [asked, Message("assistant", turn.answer if rule is None else rule.obeyed(turn))]
    assert turn.outcome is not None
    called = Message("assistant", "", calls=(turn.answer,))
    result = Message("tool", turn.outcome.result, tool=turn.answer.name)
    return [asked, called, result, Message("assistant", turn.outcome.answer)]


def _thought(analysis: Analysis, effort: Effort | None) -> str:
    if effort == "low":
        return ""
    return analysis.high if effort == "high" else analysis.medium


def _choice(draw: Draw, answer: str | ToolCall) -> ToolChoice:
    """Mostly auto; a call may be required, of any tool or of this one."""
    which = draw.random.random()
    if isinstance(answer, str) or which > 0.15:
        return ToolChoice()
    return ToolChoice("required", answer.name if which < 0.04 else "")


def _length(turn: Turn, earlier: Sequence[Turn]) -> int:
    """Words of a conversation, about."""
    messages = [message for other in earlier for message in _finished(other, None)]
    texts = [turn.question, turn.analysis.high, *(message.content for message in messages)]
    return sum(len(text.split()) for text in texts)


def _same_json(one: str, other: str) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False
