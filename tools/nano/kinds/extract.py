"""JSON for a schema, from a text that tells of a person."""

import json

from ossctl.dialect import JsonFormat
from tools.nano.draw import Draw
from tools.nano.split import Wordings, wordings
from tools.nano.turn import Analysis, Form, Turn

_ALL = wordings(
    "{name} is {age} and lives in {city}.",
    "{name} is {age} years old and lives in {city}.",
    "{name}, {age}, from {city}.",
    "{name}, {age}, {city}",
    "{name} ({age}) lives in {city}.",
    "My name is {name}, I am {age} and I live in {city}.",
    "I am {name}, {age} years old, from {city}.",
    "{name} from {city} is {age}.",
    "{name} from {city} is {age} years old.",
    "In {city} lives {name}, who is {age}.",
    "{name} lives in {city} and is {age}.",
    "{name} lives in {city}. {name} is {age} years old.",
    "A {age} year old called {name} lives in {city}.",
    "Her name is {name}, she is {age} and her home is {city}.",
    "His name is {name}, he is {age} and comes from {city}.",
    "City: {city}. Age: {age}. Name: {name}.",
    "Name: {name}, age: {age}, city: {city}",
    "Age: {age}, city: {city}, name: {name}",
    "Age: {age}. Name: {name}. City: {city}.",
    "City: {city}, name: {name}, age: {age}",
    "Name: {name}. City: {city}. Age: {age}.",
    "From {city}: {name}, {age} years old.",
    "From {city}: {name}, {age}.",
    "From {city} comes {name}, {age} years old.",
    "From {city} comes {name}, who is {age}.",
    "From the city of {city}: {name}, {age} years old.",
    "In {city}: {name}, {age} years old.",
    "At {age} years {name} lives in {city}.",
)
_NAME_AGE = wordings(
    "{name} is {age}.",
    "{name} is {age} years old.",
    "{name}, {age}",
    "My name is {name} and I am {age}.",
    "I am {name}, {age} years old.",
    "The age of {name} is {age}.",
    "A {age} year old called {name}.",
)
_NAME_CITY = wordings(
    "{name} lives in {city}.",
    "{name} comes from {city}.",
    "{name} from {city}",
    "My name is {name} and I live in {city}.",
    "I am {name} from {city}.",
    "In {city} lives {name}.",
    "The home of {name} is {city}.",
)
_AGE_CITY = wordings(
    "I am {age} and live in {city}.",
    "I am {age} years old and come from {city}.",
    "She is {age} and lives in {city}.",
    "He is {age} years old and from {city}.",
    "Age: {age}, city: {city}",
    "In {city}, {age} years old.",
)
_ASK = wordings(
    "Extract the data: {text}",
    "Extract the data from this text: {text}",
    "Write this as JSON: {text}",
    "Please write this as JSON: {text}",
    "Give me a {record} of this: {text}",
    "Give me the {record} as JSON: {text}",
    "Make a {record} of this: {text}",
    "What does this text say? {text}",
)
WORDINGS = (_ALL, _NAME_AGE, _NAME_CITY, _AGE_CITY, _ASK)

_TEXTS: dict[frozenset[str], Wordings] = {
    frozenset({"name", "age"}): _NAME_AGE,
    frozenset({"name", "city"}): _NAME_CITY,
    frozenset({"age", "city"}): _AGE_CITY,
}
_FORMATS = ("person", "record")
_TYPES = {"name": "string", "age": "integer", "city": "string"}


def form(draw: Draw) -> Form:
    chosen = draw.random.sample(tuple(_TYPES), draw.one((2, 3, 3, 3)))
    fields = {field: field for field in sorted(chosen, key=tuple(_TYPES).index)}
    schema: dict[str, object] = {
        "type": "object",
        "properties": {key: {"type": _TYPES[field]} for key, field in fields.items()},
    }
    schema["required"] = list(fields)
    if draw.chance(0.5):
        schema["additionalProperties"] = False
    return Form(JsonFormat(schema, draw.one(_FORMATS)), fields)


def extract(draw: Draw) -> Turn:
    return fill(draw, form(draw))


def again(draw: Draw, turn: Turn) -> Turn:
    """Another text for the form of this turn."""
    assert turn.form is not None
    return fill(draw, turn.form)


def fill(draw: Draw, asked: Form) -> Turn:
    """A text that holds at least what the form asks for, and the form filled in."""
    values: dict[str, object] = {"name": draw.name(), "age": draw.number(1, 99), "city": draw.city()}
    wanted = frozenset(asked.fields.values())
    fitting = [ways for held, ways in _TEXTS.items() if wanted <= held]
    ways = draw.one(fitting) if fitting and draw.chance(0.6) else _ALL
    text = draw.say(ways, values)
    record = asked.json_format.name
    question = text if draw.chance(0.4) else draw.say(_ASK, {"text": text, "record": record})
    answer = {key: values[field] for key, field in asked.fields.items()}
    listed = ", ".join(f"{key} {value}" for key, value in answer.items())
    sentences = " ".join(f"The {key} is {value}." for key, value in answer.items())
    keys = ", ".join(answer)
    analysis = Analysis(
        f"{listed}.",
        f"I look in the text for {keys}. {sentences}",
    )
    return Turn(question, json.dumps(answer, separators=(",", ":")), analysis, form=asked)
