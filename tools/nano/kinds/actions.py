"""Tools of any other use."""

from dataclasses import dataclass

from tools.nano.draw import Draw
from tools.nano.offers import Slot, make_call, make_tool
from tools.nano.split import Wordings, wordings
from tools.nano.turn import Analysis, Offer, Outcome, Turn


@dataclass(frozen=True)
class Action:
    """What a tool does. `values` says what is drawn for each slot; the wordings call them {x} and {y}."""

    names: tuple[str, ...]
    description: str
    slots: tuple[Slot, ...]
    values: tuple[str, ...]
    ways: Wordings
    wish: str


_WHO = Slot(("to", "person"), "The person.")
_WORD = Slot(("text", "message"), "The text.")
_MINUTES = Slot(("minutes",), "How many minutes.", "integer")

ACTIONS = (
    Action(
        ("send_message", "message"),
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
            "Can you send {y} to {x}?",
            "Please send the message {y} to {x}.",
            "Please send {x} the message {y}.",
            "I want to send {y} to {x}.",
        ),
        "to send a message",
    ),
    Action(
        ("set_timer", "timer"),
        "Set a timer.",
        (_MINUTES,),
        ("number",),
        wordings(
            "Set a timer for {x} minutes.",
            "Start a timer for {x} minutes.",
            "Please set a timer for {x} minutes.",
            "Timer for {x} minutes",
            "I want a timer for {x} minutes.",
            "Make a timer of {x} minutes.",
            "Can you set a timer for {x} minutes?",
        ),
        "a timer",
    ),
    Action(
        ("play_song", "play"),
        "Play a song.",
        (Slot(("song", "title"), "The song."),),
        ("word",),
        wordings(
            "Play {x}.",
            "Play the song {x}.",
            "Please play {x}.",
            "Please play the song {x}.",
            "Can you play {x}?",
            "Can you play the song {x}?",
            "I want to hear {x}.",
            "I want to hear the song {x}.",
        ),
        "to hear a song",
    ),
    Action(
        ("get_time", "time"),
        "Get the current time.",
        (),
        (),
        wordings(
            "What time is it?",
            "What time is it now?",
            "What is the time?",
            "What is the time now?",
            "Tell me the time.",
            "Please tell me the time.",
            "Can you tell me the time?",
            "Do you know the time?",
            "The time, please.",
            "Tell me what time it is.",
        ),
        "the time",
    ),
)
WORDINGS = tuple(action.ways for action in ACTIONS)


def action_offer(draw: Draw) -> Offer:
    action = draw.one(ACTIONS)
    tool, names = make_tool(draw, draw.key(action.names), action.description, action.slots)

    def ask(draw: Draw) -> Turn:
        values = [_value(draw, sort) for sort in action.values]
        quoted = draw.chance(0.5)
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


def _value(draw: Draw, sort: str) -> object:
    if sort == "number":
        return draw.number(1, 99)
    return {"name": draw.name, "city": draw.city, "word": draw.word}[sort]()


def _outcome(draw: Draw) -> Outcome:
    analysis = Analysis(
        "The result: done.", "The tool gave a result. It says that it is done. I tell the user."
    )
    return Outcome(draw.one(("done", "ok", '{"ok":true}')), "It is done.", analysis)
