"""What a chat template shows about its model's format, as `derive` finds it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

# Stand for what differs from call to call inside a marker.
NAME, ID, INDEX, KEY = "{NAME}", "{ID}", "{i}", "{KEY}"

Path = tuple[str | int, ...]  # of keys and indices, into decoded JSON
State = Literal["open", "closed", "outside"]  # whether a prompt opens reasoning, ends it, or mentions none


@dataclass(frozen=True)
class ChatRules:
    """How messages have to be changed so that the template renders all of them.

    `tools` is the variable that declares functions, or empty; `json_tools` if it is a text of JSON.
    """

    fold_system: bool = False  # into the first user message, because the template refuses or drops the role
    late_system: bool = True  # whether system messages may come later on
    alternate: bool = False  # whether users and assistants have to take turns
    text_parts: bool = False  # whether contents are lists of parts
    tools: str = ""
    json_tools: bool = False
    always: Mapping[str, Any] = field(default_factory=dict)  # variables that the template does not do without


@dataclass(frozen=True)
class CallMessage:
    """The form of an assistant message with calls that the template renders rightly."""

    arguments: Literal["mapping", "string"] = "mapping"
    content: Literal["", "none", "absent"] = ""  # of a message that has only calls
    short_ids: bool = False  # of nine letters and digits
    with_content: bool = True  # whether text beside calls is rendered


@dataclass(frozen=True)
class Tagged:
    """Arguments that are tagged one by one: `key_start K middle V value_end`, with `separator` between.

    `middles` are the texts that may come between key and value, each with the JSON types it announces.
    `wrappers` may surround a value.
    """

    key_start: str
    middles: tuple[tuple[str, frozenset[str]], ...]
    value_end: str
    separator: str
    wrappers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class CallFormat:
    """How calls are written.

    A turn with calls is `section_start`, calls with `separator` between them, `section_end`. A call is
    `call_start`, a body and `call_end`. If `array`, the section's body is a JSON array of calls. `kind`:

    - `json`: the body is a JSON object, the arguments at `arguments_path`. The name is at `name_path`, or in
      `call_start` if that is None. Where `name_is_key`, the object is `{name: arguments}`.
    - `tagged`: as `tagged` describes.
    - `dialect`: like JSON, with bare keys and `quote` around strings.
    - `python`: a Python call, with its brackets.
    """

    kind: Literal["json", "tagged", "dialect", "python"]
    section_start: str
    call_start: str
    call_end: str
    separator: str
    section_end: str
    array: bool = False
    name_path: Path | None = None
    arguments_path: Path = ()
    name_is_key: bool = False
    id_path: Path | None = None
    tagged: Tagged | None = None
    quote: str = ""
    one_call: bool = False
    message: CallMessage = CallMessage()


@dataclass(frozen=True)
class Switch:
    """A variable of the template, and what setting it to `value` does to the prompt's end."""

    variable: str
    value: Any
    state: State


@dataclass(frozen=True)
class ReasoningFormat:
    """Where reasoning is written, and how it is switched.

    `start` and `end` surround it; `start` may stand in the prompt already, as `state` says. Earlier
    reasoning is handed to the template

    - as `key` of the message, if `place` is `field`,
    - as a part of the content of type `key`, if it is `part`,
    - inside `blocks` of the content, if it is `blocks`,
    - in its tags before the content, if it is `inline`.
    """

    start: str
    end: str
    place: Literal["field", "part", "blocks", "inline"]
    key: str = ""
    instead_of_text: bool = False  # whether a message with calls may have reasoning or a text, not both
    state: State = "outside"
    on: Mapping[str, Any] | None = None  # variables that make the model reason; None if nothing does
    off: Mapping[str, Any] | None = None
    switches: tuple[Switch, ...] = ()
    effort: str = ""  # the variable
    efforts: tuple[str, ...] = ()  # its values
    kept: bool = False  # whether the template renders that of earlier turns


@dataclass(frozen=True)
class TemplateFormat:
    """All that is known of a template. `calls` or `reasoning` is None if it never writes them.

    `answer_start` and `answer_end` surround the text of an answer. `example` is a call, if the template
    writes calls but declares no functions.
    """

    rules: ChatRules
    calls: CallFormat | None = None
    reasoning: ReasoningFormat | None = None
    answer_start: str = ""
    answer_end: str = ""
    example: str = ""


def without_ends(form: CallFormat, ends: Iterable[str]) -> CallFormat:
    """`form` without any of the tokens `ends`, since an answer is over before its last token is read."""
    end = re.compile("|".join(map(re.escape, filter(None, ends))) or "(?!)")
    if end.search(form.call_end):
        return replace(form, call_end=end.split(form.call_end)[0], section_end="", one_call=True)
    return replace(form, section_end=end.split(form.section_end)[0])
