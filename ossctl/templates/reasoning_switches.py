"""Variables of a template that switch reasoning, and what they do to the prompt."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ossctl.templates.markers import shared_start
from ossctl.templates.probe import Probe, user
from ossctl.templates.template_format import ReasoningFormat, State, Switch

Tags = tuple[str, str]

_ABOUT = re.compile(r"think|reason|thought|effort")
_EFFORT = re.compile(r"effort|strength")
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def switched(probe: Probe, form: ReasoningFormat) -> ReasoningFormat:
    """`form` with the state of the prompt, and all that changes it."""
    marks = form.start, form.end
    usual = _state(probe, marks)
    switches = tuple(
        Switch(name, value, state)
        for name, value in _values(probe)
        if (state := _state(probe, marks, **{name: value})) is not None and state != usual
    )
    form = replace(form, state=usual or "outside", switches=switches)
    on, off = _on(form), _off(form)
    effort, efforts = _efforts(probe)
    return replace(form, on=on, off=off, effort=effort, efforts=efforts)


def _values(probe: Probe) -> Iterator[tuple[str, Any]]:
    """Variables about reasoning first, with booleans first, which templates test most exactly."""
    names = [name for name in probe.asked if _ABOUT.search(name)]
    for name in sorted(names, key=lambda name: ("effort" in name, "enable" not in name)):
        for value in (True, False, *probe.constants(name)):
            yield name, value


def _state(probe: Probe, marks: Tags, **variables: Any) -> State | None:
    """Whether the prompt opens reasoning; None if the template refuses the variables."""
    prompt, without = probe.prompt(**variables), probe.render([user()], **variables)
    if prompt is None or without is None:
        return None
    before = without.rpartition(user()["content"])[2]
    own = prompt[len(shared_start([prompt + " ", before + " "], cut_words=True)) :]
    own = own if own.strip() else prompt  # of a template that always prompts
    opened, closed = own.rfind(marks[0]) if marks[0] else -1, own.rfind(marks[1])
    if closed > opened:
        return "closed"
    return "open" if opened >= 0 else "outside"


def _on(form: ReasoningFormat) -> dict[str, Any] | None:
    if form.state == "open":
        return {}
    opening = _first(form, "open")
    if opening is not None:
        return opening
    return _first(form, "outside") if form.state == "closed" else {}


def _off(form: ReasoningFormat) -> dict[str, Any] | None:
    if form.state == "closed":
        return {}
    closing = _first(form, "closed")
    if closing is not None:
        return closing
    if form.state == "open":
        return _first(form, "outside")
    return {} if _first(form, "open") is not None else None


def _first(form: ReasoningFormat, state: State) -> dict[str, Any] | None:
    return next(({s.variable: s.value} for s in form.switches if s.state == state), None)


def _efforts(probe: Probe) -> tuple[str, tuple[str, ...]]:
    """The variable for the effort, and the values that it takes and that make a difference."""
    for name in probe.asked:
        if _EFFORT.search(name):
            candidates = dict.fromkeys([*_EFFORTS, *probe.constants(name)])
            prompts = {value: probe.render([user()], prompt=True, **{name: value}) for value in candidates}
            known = {value: text for value, text in prompts.items() if text is not None}
            constants = set(probe.constants(name))
            mentioned = [v for v in known if v in constants] or [v for v in known if v in _EFFORTS[2:5]]
            if len({known[value] for value in mentioned}) > 1:
                return name, tuple(sorted(mentioned, key=_rank))
    return "", ()


def _rank(effort: str) -> int:
    return _EFFORTS.index(effort) if effort in _EFFORTS else -1
