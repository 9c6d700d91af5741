"""Renderings of calls: the form of message that a template takes, and the texts around the calls."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ossctl.templates.chat_rules import declared
from ossctl.templates.markers import shared_end, shared_start, tags
from ossctl.templates.probe import (
    FIRST,
    IDS,
    RESULT,
    SECOND,
    SYSTEM,
    TEXT,
    USER,
    Probe,
    assistant,
    call,
    result,
    tool,
    user,
)
from ossctl.templates.template_format import ID, INDEX, NAME, CallMessage, ChatRules

KEY_A, KEY_B, KEY_C = "zqka", "zqkb", "zqkc"
ONE = {KEY_A: "zqva", KEY_B: "zqvb"}
OTHER = {KEY_C: "zqvc"}
_STRING = {"type": "string", "description": "A."}
TOOLS = (tool(FIRST, {KEY_A: _STRING, KEY_B: _STRING}), tool(SECOND, {KEY_C: _STRING}))
_NUMBER = re.compile(r"(?<!\w)\d(?!\w)")


@dataclass(frozen=True)
class Calls:
    """A template with its rules and one form of message, ready to render calls."""

    probe: Probe
    rules: ChatRules
    message: CallMessage
    answered: bool = False  # whether a call is only rendered together with its result

    def turn(self, *calls: tuple[str, Mapping[str, Any]], text: str = "", **more: Any) -> str | None:
        """What the model is to write for a turn with these calls, and what ends it."""
        written = [
            call(name, json.dumps(arguments) if self.message.arguments == "string" else arguments, number)
            for number, (name, arguments) in enumerate(calls)
        ]
        message = assistant(text, tool_calls=written, **more)
        if not text and self.message.content != "":
            message["content"] = None
            if self.message.content == "absent":
                del message["content"]
        results = [result(RESULT, name, i) for i, (name, _) in enumerate(calls)] if self.answered else []
        variables = declared(self.rules, TOOLS)
        turn = self.probe.turn(message, *results, **variables)
        prompt = self.probe.prompt(**variables)
        if turn is None or prompt is None:
            return None
        turn = turn[len(shared_start([turn + " ", prompt + " "], cut_words=True)) :]
        return turn.partition(RESULT)[0]


def forms(probe: Probe, rules: ChatRules) -> Iterator[Calls]:
    """Forms of message under which a call is rendered with its name and arguments, the best ones first."""
    for answered in (False, True):
        for arguments in ("mapping", "string"):
            for content in ("", "none", "absent"):
                message = CallMessage(arguments, content)
                calls = Calls(probe, rules, message, answered)
                turn = calls.turn((FIRST, ONE))
                if turn and all(text in turn for text in (FIRST, *ONE, *ONE.values())):
                    yield replace(calls, message=replace(message, short_ids=_needs_short_ids(calls)))


def _needs_short_ids(calls: Calls) -> bool:
    long = [{"id": "call_0123456789", "type": "function", "function": {"name": FIRST, "arguments": ONE}}]
    variables = declared(calls.rules, TOOLS)
    message = assistant("", tool_calls=long)
    return calls.message.arguments == "mapping" and calls.probe.turn(message, **variables) is None


@dataclass(frozen=True)
class Surroundings:
    """Texts around the bodies of calls, with holes for what differs from call to call."""

    section_start: str
    call_start: str
    call_end: str
    separator: str
    section_end: str


def with_holes(text: str) -> str:
    """`text` with holes for names, ids and running numbers."""
    for name in (FIRST, SECOND):
        text = text.replace(name, NAME)
    for known in IDS:
        text = text.replace(known, ID)
    return text


def surroundings(head: str, mid: str | None, tail: str) -> Surroundings:
    """Divide what is before the first body, between two (None if there can't be two) and after the last."""
    head, tail = with_holes(head), with_holes(tail)
    if mid is None:
        return Surroundings("", head.lstrip(), tail, "", "")
    mid = with_holes(mid)
    if _NUMBER.search(head) and _NUMBER.search(mid):
        head, mid = _NUMBER.sub(INDEX, head), _NUMBER.sub(INDEX, mid)
    call_end = shared_start([mid + " ", tail + " "])[: len(mid)]
    rest = mid[len(call_end) :]
    call_start = shared_end([head, rest])
    section_start = head[: len(head) - len(call_start)].lstrip()
    separator = rest[: len(rest) - len(call_start)]
    if not section_start:
        separator += call_start[: len(call_start) - len(call_start.lstrip())]
        call_start = call_start.lstrip()
    return Surroundings(section_start, call_start, call_end, separator, tail[len(call_end) :])


def without_end(tail: str, probe: Probe, variables: Mapping[str, Any], between: str = "") -> str:
    """`tail` without what ends every turn, unless the same tags are `between` calls."""
    for end in _turn_ends(probe, variables):
        shared = shared_end([tail, end])
        start = len(tail) - len(shared)
        first = next((tag for tag in tags(tail) if tag.start() == start), None)
        if first and tail[start - 1 : start].isalnum():  # a marker's own last tag
            start = first.end()
        tail = tail[:start]
        tag = next(iter(tags(end)), None)
        if tag and tag[0] not in between and tag[0] in tail:
            tail = tail[: tail.find(tag[0])]
    return tail


def _turn_ends(probe: Probe, variables: Mapping[str, Any]) -> Iterator[str]:
    """What follows the text of an answer that has no calls."""
    for turn in ([assistant()], [assistant(), user()]):
        text = probe.render([user(SYSTEM), *turn], **variables) or ""
        if TEXT in text:
            yield text.rpartition(TEXT)[2].partition(USER)[0]


def head_of(alone: str, beside: str | None) -> str:
    """What introduces calls: shared by a turn that has only calls and one that has text before them."""
    if beside is None:
        return alone.lstrip()
    return shared_end([alone, beside]).lstrip() or alone.lstrip()
