"""What the user told earlier in the conversation, and the telling itself."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tools.nano.draw import Draw
from tools.nano.split import Wordings, wordings
from tools.nano.turn import Analysis, Turn


@dataclass(frozen=True)
class Trait:
    """Something about the user. `reply` is the answer to the telling, `answer` to the question."""

    key: str
    draw: Callable[[Draw], object]
    telling: Wordings
    asking: Wordings
    reply: str
    answer: str


TRAITS = (
    Trait(
        "name",
        Draw.name,
        wordings(
            "My name is {value}.",
            "I am {value}.",
            "Hello, I am {value}.",
            "Hello, my name is {value}.",
            "Hi, my name is {value}.",
            "I am called {value}.",
            "You can call me {value}.",
            "Please call me {value}.",
            "The name is {value}.",
        ),
        wordings(
            "What is my name?",
            "Who am I?",
            "Do you know my name?",
            "Do you know who I am?",
            "Tell me my name.",
            "Please tell me my name.",
            "What am I called?",
            "My name is what?",
            "Can you say my name?",
            "What did I call myself?",
            "Can you tell me my name?",
            "What did I say my name is?",
        ),
        "Nice to meet you, {value}.",
        "Your name is {value}.",
    ),
    Trait(
        "city",
        Draw.city,
        wordings(
            "I live in {value}.",
            "My home is in {value}.",
            "My home city is {value}.",
            "I come from {value}.",
            "I am from {value}.",
            "I live in the city of {value}.",
            "The city that I live in is {value}.",
        ),
        wordings(
            "Where do I live?",
            "Which city do I live in?",
            "In which city do I live?",
            "Do you know where I live?",
            "Tell me where I live.",
            "Please tell me where I live.",
            "What is my city?",
            "What is my home city?",
            "Which city is my home?",
            "Tell me my city.",
            "Do you know my city?",
            "Which city am I from?",
            "Where did I say I live?",
        ),
        "Good to know: you live in {value}.",
        "You live in {value}.",
    ),
    *(
        Trait(
            key,
            draw,
            wordings(
                f"My favourite {word} is {{value}}.",
                f"My favorite {word} is {{value}}.",
                f"{{value}} is my favourite {word}.",
                f"The {word} that I like best is {{value}}.",
                f"I like the {word} {{value}} best.",
                f"Of all the {key}s I like {{value}} best.",
            ),
            wordings(
                f"What is my favourite {word}?",
                f"What is my favorite {word}?",
                f"Which {word} do I like best?",
                f"Do you know my favourite {word}?",
                f"Tell me my favourite {word}.",
                f"What {word} do I like best?",
                f"Which {word} is my favourite?",
                f"My favourite {word}?",
                f"Can you tell me my favourite {word}?",
                f"What did I say my favourite {word} is?",
            ),
            f"Good to know: your favourite {word} is {{value}}.",
            f"Your favourite {word} is {{value}}.",
        )
        for key, word, draw in (
            ("colour", "colour", Draw.colour),
            ("animal", "animal", Draw.animal),
            ("number", "number", Draw.favourite_number),
        )
    ),
)
WORDINGS = tuple(ways for trait in TRAITS for ways in (trait.telling, trait.asking))


def recall(draw: Draw) -> Turn:
    """Ask for one of the things told before; sometimes tell one instead, or tell and ask at once."""
    which = draw.random.random()
    if which < 0.2:
        return telling(draw)
    traits = draw.random.sample(TRAITS, draw.one((1, 1, 2, 2, 3)))
    tellings = [_told(draw, trait) for trait in traits]
    trait, (value, told) = traits[0], tellings[0]
    question = draw.say(trait.asking)
    before = tuple(turn for _, turn in draw.shuffled(tellings))
    if which < 0.3:
        traits = traits[:1]
        question, before = f"{told.question.rstrip('.')}. {question[0].upper()}{question[1:]}", ()
    answer = trait.answer.format(value=value)
    analysis = Analysis(
        f"The user said: {trait.key} {value}.",
        f"The user asks for the {trait.key}. I look at what was said before. It was: {trait.key} {value}."
        f" So the answer is {value}.",
    )
    return Turn(
        question, answer, analysis, value, told=before, tells=frozenset({trait.key}), unfit=_unfit(traits)
    )


def telling(draw: Draw) -> Turn:
    """One or two things that the user tells."""
    trait, *others = draw.random.sample(TRAITS, 1 if draw.chance(0.8) else 2)
    value, turn = _told(draw, trait)
    if not others:
        return turn
    second, other = _told(draw, others[0])
    key = others[0].key
    analysis = Analysis(
        f"The user tells me: {trait.key} {value}, {key} {second}.",
        f"The user tells me two things and asks nothing. They are: {trait.key} {value} and {key} {second}."
        f" I answer to the first and will remember both.",
    )
    question = f"{turn.question.rstrip('.')}. {other.question[0].upper()}{other.question[1:]}"
    return replace(turn, question=question, analysis=analysis, tells=frozenset({trait.key, key}))


def _told(draw: Draw, trait: Trait) -> tuple[str, Turn]:
    """The value and the turn that tells it."""
    value = str(trait.draw(draw))
    analysis = Analysis(
        f"The user tells me: {trait.key} {value}.",
        f"The user tells me something and asks nothing. It is: {trait.key} {value}. I will remember it.",
    )
    question = draw.say(trait.telling, {"value": value})
    reply = trait.reply.format(value=value)
    return value, Turn(question, reply, analysis, "Noted", tells=frozenset({trait.key}))


def _unfit(traits: list[Trait]) -> frozenset[str]:
    """What must not be told a second time, by another turn."""
    return frozenset(trait.key for trait in traits)
