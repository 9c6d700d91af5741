"""Deriving where reasoning begins and ends, how it is switched, and what is kept of it."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ossctl.templates.call_probe import ONE, TOOLS
from ossctl.templates.chat_rules import declared
from ossctl.templates.markers import first_tag, shared_start, tags
from ossctl.templates.probe import FIRST, TEXT, THOUGHT, Probe, assistant, call, result, user
from ossctl.templates.reasoning_switches import Tags, switched
from ossctl.templates.template_format import CallFormat, ChatRules, ReasoningFormat

_ABOUT = r"reason|think|thought|plan"
_OPENING = re.compile(rf"[<\[][\w:|]*(?:{_ABOUT})[\w:|]*[>\]]", re.IGNORECASE)

Place = Literal["field", "part", "blocks", "inline"]


@dataclass(frozen=True)
class Found:
    """A place for reasoning that the template renders, and what it rendered."""

    place: Place
    key: str
    needs: Mapping[str, Any]
    turn: str  # from the user's text on
    calls_only: bool


def derive_reasoning(probe: Probe, rules: ChatRules, calls: CallFormat | None) -> ReasoningFormat | None:
    """How the model writes reasoning; None if the template knows of none."""
    found = _find(probe, rules, calls)
    if found is not None:
        start, end = _marks(probe, found, rules, calls)
        form = ReasoningFormat(start, end, found.place, found.key)
        return _history(probe, rules, calls, switched(probe, form))
    for start, end in _mined(probe):
        form = switched(probe, ReasoningFormat(start, end, "inline"))
        cut = _earlier(probe, form)
        states = {form.state, *(switch.state for switch in form.switches)}
        if (cut is not None and THOUGHT not in cut and TEXT in cut) or states - {"outside"}:
            return _history(probe, rules, calls, form)
    return None


def with_reasoning(form: ReasoningFormat, thought: str, message: Mapping[str, Any]) -> dict[str, Any]:
    """An assistant message with its reasoning where the template looks for it."""
    text = message.get("content") or ""
    if form.place == "field":
        return {**message, form.key: thought}
    if form.place == "inline":
        return {**message, "content": f"{form.start}{thought}{form.end}{text}"}
    if form.place == "part":
        parts = [{"type": form.key, form.key: thought}, {"type": "text", "text": text}]
        return {**message, "content": parts[: 2 if text else 1]}
    blocks = [{"type": form.key, "text": thought}, {"type": "response", "text": text}]
    return {**message, "content": {"blocks": [block for block in blocks if block["text"]]}}


def _places(probe: Probe) -> Iterator[tuple[Place, str]]:
    keys = probe.keys(_ABOUT)
    usual = ("reasoning_content", "reasoning", "thinking", "thought")
    for key in sorted(keys, key=lambda key: usual.index(key) if key in usual else len(usual)):
        yield "field", key
    for key in keys:
        yield "part", key
    if "blocks" in set(probe.literals()):
        for key in keys:
            yield "blocks", key


def _find(probe: Probe, rules: ChatRules, calls: CallFormat | None) -> Found | None:
    needs: list[dict[str, Any]] = [{}, *({name: True} for name in probe.asked if re.search(_ABOUT, name))]
    for with_call in (False, True) if calls else (False,):
        for place, key in _places(probe):
            for variables in needs:
                form = ReasoningFormat("", "", place, key)
                turn = _turn(probe, rules, form, variables, calls if with_call else None)
                if turn is not None and THOUGHT in turn and "'" + THOUGHT not in turn:
                    return Found(place, key, variables, turn, with_call)
    return None


def _turn(
    probe: Probe, rules: ChatRules, form: ReasoningFormat, needs: Mapping[str, Any], calls: CallFormat | None
) -> str | None:
    """A turn with reasoning and then a text, or a call."""
    if calls is None:
        return probe.turn(with_reasoning(form, THOUGHT, assistant()), **needs)
    return probe.turn(_reasoned_call(form, calls), **{**declared(rules, TOOLS), **needs})


def _reasoned_call(form: ReasoningFormat, calls: CallFormat) -> dict[str, Any]:
    arguments: Any = json.dumps(ONE) if calls.message.arguments == "string" else ONE
    message = assistant("", tool_calls=[call(FIRST, arguments)])
    if calls.message.content != "":
        message["content"] = None
    return with_reasoning(form, THOUGHT, message)


def _marks(probe: Probe, found: Found, rules: ChatRules, calls: CallFormat | None) -> Tags:
    """What surrounds reasoning: whole headers where only these tell it from an answer."""
    before, _, after = found.turn.partition(THOUGHT)
    prompt = probe.prompt(**found.needs) or ""
    start = before[len(shared_start([before + THOUGHT, prompt + " "], cut_words=True)) :].strip()
    if not tags(start) or TEXT in start:
        start = _last_mark(before)
    form = ReasoningFormat(start, "", found.place, found.key)
    other = None if found.calls_only or not calls else _turn(probe, rules, form, found.needs, calls)
    end = after.partition(TEXT)[0].strip()
    if other is not None and THOUGHT in other:  # after which a text differs from a call
        shared = shared_start([after, other.partition(THOUGHT)[2]]).strip()
        shared = re.sub(r"\s+[^\s<>\[\]]*$", "", shared)
        return start, shared if tags(shared) else first_tag(end)
    return start, first_tag(after if found.calls_only else end)


def _last_mark(text: str) -> str:
    """The last tag, with those before it up to the one that speaks of reasoning, if they touch."""
    places = [tag.start() for tag in tags(text)][:-4:-1]
    for at in places:
        if re.search(_ABOUT, text[at:], re.IGNORECASE) and " " not in text[at:]:
            return text[at:].strip()
    return text[places[0] :].strip() if places else text.strip()


def _mined(probe: Probe) -> list[Tags]:
    """Pairs of tags in the template's texts whose names speak of reasoning."""
    found = []
    text = "\n".join(probe.literals())
    for match in _OPENING.finditer(text):
        closing = match[0][0] + "/" + match[0][1:]
        if match[0][1] != "/" and closing in text:
            found.append((match[0], closing))
    return list(dict.fromkeys(found))


def _earlier(probe: Probe, form: ReasoningFormat) -> str | None:
    """A chat whose first answer has reasoning and whose second question follows."""
    answer = with_reasoning(form, THOUGHT, assistant())
    return probe.render([user(), answer, user("zqLater")], prompt=True)


def _history(
    probe: Probe, rules: ChatRules, calls: CallFormat | None, form: ReasoningFormat
) -> ReasoningFormat:
    """`form` with what the template does with reasoning that it is given."""
    form = replace(form, kept=THOUGHT in (_earlier(probe, form) or ""))
    if calls is None:
        return form
    variables = declared(rules, TOOLS)
    asked = _reasoned_call(form, calls)
    beside = with_reasoning(form, THOUGHT, {**asked, "content": TEXT})
    alone, both = (probe.render([user(), each, result()], **variables) for each in (asked, beside))
    return replace(form, instead_of_text=alone is not None and both is None)
