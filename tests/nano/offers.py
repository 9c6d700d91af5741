"""Tools with made-up looks: names, parameters and descriptions vary, so that only the schema tells them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nano.draw import Draw
from nano.turn import Analysis
from ossctl.dialect import Tool, ToolCall

_OPAQUE = 0.05  # share of the tools with a made name


@dataclass(frozen=True)
class Slot:
    """A parameter before it has a name: what it may be called, and what it is for."""

    names: tuple[str, ...]
    description: str
    type: str = "string"
    enum: tuple[str, ...] = ()
    required: bool = True


def tool_name(draw: Draw, names: Sequence[str]) -> str:
    """One of the names, in some style, or a made one."""
    if draw.chance(_OPAQUE):
        return draw.identifier()
    name = draw.one(names)
    if draw.chance(0.05):
        return re.sub(r"_(.)", lambda letter: letter.group(1).upper(), name)
    return name


def make_tool(draw: Draw, name: str, description: str, slots: Sequence[Slot]) -> tuple[Tool, tuple[str, ...]]:
    """The tool, and the names of its parameters in the order of `slots`; the schema's own order varies."""
    opaque = draw.chance(0.04)
    described = opaque or draw.chance(0.5)
    names: list[str] = []
    for slot in slots:
        free = [name for name in slot.names if name not in names]
        names.append(draw.identifier() if opaque else draw.one(free))
    properties = {}
    for key, slot in draw.shuffled(tuple(zip(names, slots, strict=True))):
        properties[key] = _property(slot, described=described)
    if not slots:
        return Tool(name, description, None if draw.chance(0.5) else {"type": "object", "properties": {}}), ()
    required = [key for key, slot in zip(names, slots, strict=True) if slot.required]
    schema: dict[str, object] = {"type": "object", "properties": properties, "required": required}
    if draw.chance(0.2):
        schema["additionalProperties"] = False
    return Tool(name, description, schema), tuple(names)


def make_call(tool: Tool, values: Mapping[str, object], wish: str) -> tuple[ToolCall, Analysis]:
    """A call with the values in the schema's order, and the thinking before it."""
    order = [] if tool.parameters is None else [key for key in tool.parameters["properties"] if key in values]
    arguments = {key: values[key] for key in order}
    listed = ", ".join(f"{key} {value}" for key, value in arguments.items())
    sentences = " ".join(f"The {key} is {value}." for key, value in arguments.items())
    medium = f"I call {tool.name}{' with ' if listed else ''}{listed}."
    needs = f"It takes {', '.join(order)}. {sentences}" if order else "It takes nothing."
    high = f"The user wants {wish}. The tool for that is {tool.name}. {needs} {medium}"
    return ToolCall(tool.name, json.dumps(arguments, separators=(",", ":"))), Analysis(medium, high)


def _property(slot: Slot, *, described: bool) -> dict[str, object]:
    made: dict[str, object] = {"type": slot.type}
    if described and slot.description:
        made["description"] = slot.description
    if slot.enum:
        made["enum"] = list(slot.enum)
    return made
