"""Reading calls in a text, by the format that was derived from the template."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ossctl.dialect import Schema, ToolCall
from ossctl.templates.loose_json import NotAValue, read_arguments, read_loose, read_object
from ossctl.templates.markers import first_tag, flexible, tags
from ossctl.templates.tagged_values import TaggedReader
from ossctl.templates.template_format import ID, INDEX, KEY, NAME, CallFormat, Path

_CHANNELS = r"(?:\s*<\|\w+\|>(?:[ \w]*\w)?)*"  # tags with words between, as in headers of channels
_HOLES = {ID: r"[\w.:\-]{0,64}", INDEX: r"\d*", KEY: r"[\w.\-]+"}


@dataclass(frozen=True)
class Found:
    """Calls in a text, and what was before and after them."""

    before: str
    calls: tuple[ToolCall, ...]
    after: str


class CallReader:
    """Finds calls of `tools`, functions by name with the schema of their parameters."""

    def __init__(self, form: CallFormat, tools: Mapping[str, Schema | None]) -> None:
        self._form = form
        self._tools = tools
        names = "|".join(map(re.escape, sorted(tools, key=len, reverse=True)))
        self._holes = _HOLES | {NAME: f"(?P<name>{names})" if names else "(?!)"}
        self._openings = [re.compile(pattern) for pattern in self._opening_patterns()]
        start = flexible(form.call_start.strip(), self._holes)  # distinctive enough after another call
        self._further = [re.compile(r"\s*" + start), *self._openings] if start else self._openings
        self._glue = re.compile(self._glue_pattern())
        self._closing = re.compile(r"\s*" + re.escape(first_tag(form.call_end)))
        self._tagged = TaggedReader(form.tagged, form.call_end, form.section_end) if form.tagged else None

    def read(self, text: str) -> Found:
        """All calls of one turn. Text that only looks like a call is `before`."""
        for start, opening_end, name in self._starts(text):
            calls, end = self._calls(text, opening_end, name)
            if calls:
                return Found(text[:start].rstrip(), tuple(calls), text[end:].strip())
        return Found(text, (), "")

    @property
    def triggers(self) -> tuple[str, ...]:
        """Texts that a call starts with; from there on, text may be part of one."""
        form = self._form
        heads = {form.section_start.strip(), form.call_start.partition(NAME)[0].strip()}
        heads |= {tag[0].partition(NAME)[0] for tag in tags(form.call_start) if NAME in tag[0]}
        heads |= {first_tag(head.partition(ID)[0]) for head in heads}
        return tuple(
            sorted({head for head in heads if len(head) > 1 and NAME not in head and ID not in head})
        )

    @property
    def at_start(self) -> tuple[str, ...]:
        """Texts that only the start of an answer makes a call's."""
        before = (self._form.section_start + self._form.call_start.partition(NAME)[0]).strip()
        if len(before) > 1:
            return ()
        if self._form.kind == "json" and not self._form.call_start:
            return ("{", "[") if self._form.array else ("{",)
        return tuple(before + name for name in self._tools)

    @property
    def closings(self) -> tuple[str, ...]:
        """Tags that end a call or all calls."""
        ends = (self._form.call_end, self._form.section_end)
        marks = [mark for end in ends for mark in [tag[0] for tag in tags(end)] or [end.strip()]]
        return tuple(filter(None, marks))

    def may_start(self, text: str) -> bool:
        """Whether a call starts in `text`, or could if more text followed."""
        form = self._form
        longest = len(form.section_start + form.call_start) + max(map(len, self._tools), default=0) + 80
        return len(text) < longest or any(opening.search(text) for opening in self._openings)

    def name_in(self, text: str) -> tuple[str, str] | None:
        """The function that a broken call names, and its arguments: the text after the name."""
        names = self._holes[NAME]
        match = re.search(rf"(?<![\w.]|-)(?:functions\.)?{names}(?![\w.-])", text)
        if match is None:
            return None
        rest = text[match.end() :]
        if self._form.kind == "json":
            rest = rest[max(0, rest.find("{")) :]
        return match["name"], rest

    def _starts(self, text: str) -> Iterator[tuple[int, int, str | None]]:
        """Places where a call may start: (start of the marker, its end, the function's name in it)."""
        found: dict[int, tuple[int, int, str | None]] = {}
        for opening in self._openings:
            for match in opening.finditer(text):
                found.setdefault(match.start(), (match.start(), match.end(), _name_in(match)))
        yield from sorted(found.values(), key=lambda place: place[0])

    def _calls(self, text: str, at: int, name: str | None) -> tuple[list[ToolCall], int]:
        """Calls whose first marker ends at `at`, and the end of the last of them that can be read."""
        calls: list[ToolCall] = []
        after = at
        while True:
            try:
                more, at = self._body(text, at, name)
            except NotAValue:
                return calls, after
            calls += more
            glue = self._glue.match(text, at)
            after = glue.end() if glue else at
            place = self._next_opening(text, at, after)
            if place is None or self._form.array:
                return calls, after
            at, name = place

    def _next_opening(self, text: str, at: int, after: int) -> tuple[int, str | None] | None:
        """The end of the next call's marker, which may look like what separates calls."""
        for place in (at, after):
            for opening in self._further:
                match = opening.match(text, place)
                if match and match.end() > at:
                    return match.end(), _name_in(match)
        if not self._form.call_start.strip() and text[after : after + 1] == "{":
            return after, None
        return None

    def _body(self, text: str, at: int, name: str | None) -> tuple[list[ToolCall], int]:
        form = self._form
        if form.kind == "tagged" and self._tagged is not None and name is not None:
            arguments, end = self._tagged.read(text, at, self._tools[name])
            if not self._closing.match(text, end):
                raise NotAValue  # cut off, perhaps before its next argument
            return [_call(name, arguments)], end
        if form.kind == "dialect" and name is not None:
            arguments, end = read_loose(text, at, form.quote)
            return [_call(name, arguments)], end
        if form.kind == "python" and name is not None:
            arguments, end = read_arguments(text, at - 1)
            return [_call(name, arguments)], end
        value, end = read_object(text, _start_of_value(text, at))
        items = value if form.array and isinstance(value, list) else [value]
        calls = [self._from_json(item, name) for item in items]
        if not calls or None in calls:
            raise NotAValue
        return [call for call in calls if call is not None], end

    def _from_json(self, value: Any, name: str | None) -> ToolCall | None:
        form = self._form
        if form.name_is_key:
            if not isinstance(value, dict) or len(value) != 1:
                return None
            name, arguments = next(iter(value.items()))
        else:
            if form.name_path is not None:
                name = _at(value, form.name_path)
            arguments = _at(value, form.arguments_path)
            if arguments is None and isinstance(
                value, dict
            ):  # by another name, or left out as there are none
                arguments = value.get("arguments", value.get("parameters", {}))
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except ValueError:
                return None
        if not isinstance(name, str) or name not in self._tools or not isinstance(arguments, dict):
            return None
        return _call(name, arguments)

    def _opening_patterns(self) -> Iterator[str]:
        form = self._form
        section = flexible(form.section_start.strip(), self._holes)
        start = flexible(form.call_start.strip(), self._holes)
        if form.kind == "json" and not start:
            yield section + r"\s*(?=[\[{])" if section else r"\A\s*(?=[\[{])"
            return
        if form.call_start.strip().startswith(NAME) and not section:
            start = r"(?:\A|(?<=>>>)|(?<=\n))\s*" + start
        yield section + r"\s*" + start
        if not section or len(form.call_start.partition(NAME)[0].strip()) > 2:
            yield start
        yield from self._shorter_openings()

    def _shorter_openings(self) -> Iterator[str]:
        """What is distinctive enough where a model leaves out or moves the tags around it."""
        form = self._form
        for tag in tags(form.call_start):
            if NAME in tag[0] and not tag[0].startswith(NAME):
                yield flexible(form.call_start[tag.start() :].strip(), self._holes)
        before, name, after = form.call_start.partition(NAME)
        word = re.split(r"[\s>\]]", before)[-1]
        if form.kind == "json" and name and len(word) > 2 and tags(after):
            yield _CHANNELS + r"\s*" + re.escape(word) + self._holes[NAME] + _CHANNELS + r"\s*(?={)"

    def _glue_pattern(self) -> str:
        form = self._form
        texts = [form.call_end, form.separator, form.section_end]
        for text in texts[:]:  # of tags alone, some may be left out
            found = [tag[0] for tag in tags(text)]
            texts += found if "".join(found) == "".join(text.split()) else []
        parts = {flexible(text.strip(), _HOLES | {NAME: r"[\w.\-]+"}) for text in texts if text.strip()}
        return "(?:" + "|".join([r"\s+", *sorted(parts, key=len, reverse=True)]) + ")*"


def _call(name: str, arguments: Any) -> ToolCall:
    return ToolCall(name, json.dumps(arguments, ensure_ascii=False))


def _name_in(match: re.Match[str]) -> str | None:
    return match.groupdict().get("name")


def _start_of_value(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _at(value: Any, path: Path) -> Any:
    for step in path:
        if not isinstance(value, dict) or step not in value:
            return None
        value = value[step]
    return value
