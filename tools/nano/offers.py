"""Tools of a few looks: what a tool is called, and its parameters, only its schema tells."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ossctl.dialect import Tool, ToolCall
from tools.nano.draw import Draw
from tools.nano.turn import Analysis


@dataclass(frozen=True)
class Slot:
    """A parameter before it has a name: what it may be called, and what it is for."""

    names: tuple[str, ...]
    description: str
    type: str = "string"


def make_tool(draw: Draw, name: str, description: str, slots: Sequence[Slot]) -> tuple[Tool, tuple[str, ...]]:
    """The tool, and the names of its parameters in the order of `slots`."""
    described = draw.chance(0.2)
    names = tuple(draw.key(slot.names) for slot in slots)
    while len(set(names)) < len(names):
        names = tuple(draw.key(slot.names) for slot in slots)
    properties = {}
    for key, slot in zip(names, slots, strict=True):
        about = {"description": slot.description} if described else {}
        properties[key] = {"type": slot.type, **about}
    schema = {"type": "object", "properties": properties, "required": list(names)}
    return Tool(name, description, schema if slots else None), names


def make_call(tool: Tool, arguments: Mapping[str, object], wish: str) -> tuple[ToolCall, Analysis]:
    """A call, and the thinking before it."""
    listed = ", ".join(f"{key} {value}" for key, value in arguments.items())
    medium = f"I call {tool.name}{' with ' if listed else ''}{listed}."
    high = f"The user wants {wish}. The tool for that is {tool.name}. {medium}"
    return ToolCall(tool.name, json.dumps(arguments, separators=(",", ":"))), Analysis(medium, high)
