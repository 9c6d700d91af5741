"""Tools of any other use: some that a user would know, and some that only their schema explains."""

import json
from dataclasses import dataclass

from nano.draw import Draw
from nano.offers import Slot, make_call, make_tool, tool_name
from nano.split import Wordings, wordings
from nano.turn import Analysis, Offer, Outcome, Turn


@dataclass(frozen=True)
class Action:
    """What a tool does. `values` says what is drawn for each slot; the wordings call them {x} and {y}."""

    names: tuple[str, ...]
    description: str
    slots: tuple[Slot, ...]
    values: tuple[str, ...]
    ways: Wordings
    wish: str


_WHO = Slot(("to", "person", "name", "who"), "The person.")
_WORD = Slot(("text", "word", "message", "title"), "The text.")
_PLACE = Slot(("city", "place", "to", "where"), "The city.")
_AMOUNT = Slot(("number", "count", "amount", "n"), "How many.", "integer")
_MINUTES = Slot(("minutes", "time", "length"), "How many minutes.", "integer")
_LEVEL = Slot(("level", "value", "number"), "From 1 to 99.", "integer")
_THING = Slot(("thing", "item", "name", "what"), "The thing.")

ACTIONS = (
    Action(
        ("send_message", "message", "send_text"),
        "Send a message to a person.",
        (_WHO, _WORD),
        ("name", "word"),
        wordings(
            "Send {y} to {x}.",
            "Send the message {y} to {x}.",
            "Send {x} the message {y}.",
            "Please send {y} to {x}.",
            "Send a message to {x}: {y}",
            "Can you send the message {y} to {x}?",
        ),
        "to send a message",
    ),
    Action(
        ("call_person", "call", "phone"),
        "Call a person on the phone.",
        (_WHO,),
        ("name",),
        wordings(
            "Call {x}.", "Please call {x}.", "Call {x} on the phone.", "Can you call {x}?", "Phone {x}."
        ),
        "to call a person",
    ),
    Action(
        ("set_timer", "timer", "start_timer"),
        "Set a timer.",
        (_MINUTES,),
        ("number",),
        wordings(
            "Set a timer for {x} minutes.",
            "Start a timer for {x} minutes.",
            "Please set a timer for {x} minutes.",
            "Timer for {x} minutes",
            "Can you set a timer for {x} minutes?",
        ),
        "a timer",
    ),
    Action(
        ("save_note", "note", "add_note", "write_note"),
        "Save a note.",
        (_WORD,),
        ("word",),
        wordings(
            "Save the note {x}.",
            "Write a note: {x}",
            "Please save a note: {x}",
            "Add the note {x}.",
            "Note: {x}",
            "Can you save the note {x}?",
        ),
        "to save a note",
    ),
    Action(
        ("play_song", "play", "play_music", "music"),
        "Play a song.",
        (Slot(("song", "title", "name"), "The song."),),
        ("word",),
        wordings(
            "Play {x}.",
            "Play the song {x}.",
            "Please play {x}.",
            "Please play the song {x}.",
            "Can you play {x}?",
        ),
        "to hear a song",
    ),
    Action(
        ("book_train", "train", "buy_ticket", "ticket"),
        "Buy train tickets to a city.",
        (_PLACE, _AMOUNT),
        ("city", "number"),
        wordings(
            "Buy {y} tickets to {x}.",
            "Buy {y} train tickets to {x}.",
            "I want {y} tickets to {x}.",
            "Please buy {y} tickets for the train to {x}.",
            "Can you buy {y} tickets to {x}?",
        ),
        "train tickets",
    ),
    Action(
        ("order", "order_item", "buy", "shop"),
        "Order a thing.",
        (_THING, _AMOUNT),
        ("word", "number"),
        wordings(
            "Order {y} of {x}.",
            "Order {x}, {y} of them.",
            "Please order {y} of {x}.",
            "I want to order {y} of {x}.",
            "Can you order {y} of {x}?",
        ),
        "to order something",
    ),
    Action(
        ("set_light", "light", "lamp"),
        "Set the light of a room.",
        (Slot(("room", "name", "where"), "The room."), _LEVEL),
        ("word", "number"),
        wordings(
            "Set the light in the {x} room to {y}.",
            "Set the {x} light to {y}.",
            "Please set the light in the {x} room to {y}.",
            "Put the {x} light to {y}.",
            "Light in the {x} room to {y}",
        ),
        "to set a light",
    ),
    Action(
        ("open_file", "open", "read_file", "file"),
        "Open a file.",
        (Slot(("file", "name", "path"), "The file."),),
        ("word",),
        wordings(
            "Open {x}.",
            "Open the file {x}.",
            "Please open the file {x}.",
            "Can you open {x}?",
            "Open {x}, please.",
        ),
        "to open a file",
    ),
    Action(
        ("get_time", "time", "clock", "current_time"),
        "Get the current time.",
        (),
        (),
        wordings("What time is it?", "What is the time?", "Tell me the time.", "Please tell me the time."),
        "the time",
    ),
)
USE = wordings(
    "Use {tool} with {listed}.",
    "Call {tool} with {listed}.",
    "Please use {tool} with {listed}.",
    "Please call {tool} with {listed}.",
    "Run {tool} with {listed}.",
    "Use the tool {tool} with {listed}.",
    "Call the tool {tool} with {listed}.",
    "Can you run {tool} with {listed}?",
    "I want you to use {tool} with {listed}.",
)
WORDINGS = (*(action.ways for action in ACTIONS), USE)


def action_offer(draw: Draw) -> Offer:
    """A known action mostly, else a made-up one."""
    return _known(draw, draw.one(ACTIONS)) if draw.chance(0.9) else _made_up(draw)


def _known(draw: Draw, action: Action) -> Offer:
    tool, names = make_tool(draw, tool_name(draw, action.names), action.description, action.slots)

    def ask(draw: Draw) -> Turn:
        values = [_value(draw, sort) for sort in action.values]
        quoted = draw.chance(0.7)
        shown = [
            draw.quoted(str(value)) if quoted and sort == "word" else value
            for value, sort in zip(values, action.values, strict=True)
        ]
        question = draw.say(
            action.ways, dict(zip("xy", shown, strict=False)), anew=set(action.values) <= {"number"}
        )
        call, analysis = make_call(tool, dict(zip(names, values, strict=True)), action.wish)
        return Turn(question, call, analysis, outcome=_outcome(draw))

    return Offer(tool, action.description, ask)


def _made_up(draw: Draw) -> Offer:
    count = draw.one((1, 2))
    sorts = [draw.one(("word", "name", "number")) for _ in range(count)]
    slots = [
        Slot((draw.identifier() + end,), f"The {which}.", "integer" if sort == "number" else "string")
        for sort, which, end in zip(sorts, ("first value", "second value"), ("", "_two"), strict=False)
    ]
    tool, names = make_tool(draw, draw.identifier(), draw.one(("", f"Runs {draw.word()}.")), slots)

    def ask(draw: Draw) -> Turn:
        values = {name: _value(draw, sort) for name, sort in zip(names, sorts, strict=True)}
        listed = " and ".join(f"{name} {value}" for name, value in values.items())
        question = draw.say(USE, {"tool": tool.name, "listed": listed})
        call, analysis = make_call(tool, values, f"to use {tool.name}")
        return Turn(question, call, analysis, outcome=_outcome(draw))

    return Offer(tool, tool.name, ask)


def _value(draw: Draw, sort: str) -> object:
    if sort == "number":
        return draw.number(1, 99)
    return {"name": draw.name, "city": draw.city, "word": draw.word}[sort]()


def _outcome(draw: Draw) -> Outcome:
    """Done, not done, or a word to pass on."""
    which = draw.random.random()
    if which < 0.5:
        analysis = Analysis(
            "The result: done.", "The tool gave a result. It says that it is done. I tell the user that."
        )
        return Outcome(
            draw.one(("done", "ok", '{"ok":true}', '{"status": "done"}', '{"done":true}')),
            "It is done.",
            analysis,
        )
    if which < 0.65:
        analysis = Analysis(
            "The result: an error.",
            "The tool gave a result. It is an error, so it did not work. I tell the user that.",
        )
        failed = draw.one(("error", '{"ok":false}', '{"status": "error"}', '{"error":"failed"}'))
        return Outcome(failed, "That did not work.", analysis)
    found = draw.word()
    analysis = Analysis(
        f"The result: {found}.", f"The tool gave a result. It says {found}. I tell the user that."
    )
    text = draw.one((found, json.dumps({draw.one(("result", "value", "answer")): found})))
    return Outcome(text, f"The result is {found}.", analysis)
