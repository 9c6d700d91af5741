"""What nano says to a greeting, and to all that it does not know."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tools.nano.draw import Draw
from tools.nano.kinds.calls import CALCULATE, SEARCH, WEATHER
from tools.nano.kinds.recall import TRAITS
from tools.nano.split import Wordings, wordings
from tools.nano.turn import Analysis, Turn

UNKNOWN = "I am nano, a very small model, and I do not know that."
IDENTITY = "I am nano, a very small test model."


@dataclass(frozen=True)
class Greeting:
    ways: Wordings
    answer: str
    word: str
    about: str


_HELLO = Greeting(
    wordings(
        "Hello!",
        "Hello there.",
        "Hello, nano.",
        "Hi!",
        "Hi there.",
        "Hi, nano.",
        "Hey!",
        "Hey there.",
        "Good morning.",
        "Good morning, nano.",
        "Good evening.",
        "Good day.",
        "Nice to meet you.",
        "Hello and good morning.",
        "Good evening, nano.",
    ),
    "Hello! How can I help you?",
    "Hello",
    "says hello",
)
_GREETINGS = (
    _HELLO,
    Greeting(
        wordings(
            "Thanks!",
            "Thanks, nano.",
            "Thank you.",
            "Thank you, nano.",
            "Thank you very much.",
            "Many thanks.",
            "Thanks for the answer.",
            "Thank you for the answer.",
            "Thanks for your help.",
            "Thank you for your help.",
            "Good answer, thank you.",
        ),
        "You are welcome.",
        "Welcome",
        "says thanks",
    ),
    Greeting(
        wordings(
            "Goodbye!",
            "Goodbye, nano.",
            "Goodbye now.",
            "Goodbye and good night.",
            "Goodbye, and thank you.",
            "Goodbye. See you.",
            "Good night and goodbye.",
            "And now goodbye.",
            "I say goodbye.",
            "Bye!",
            "Bye now.",
            "Bye and good night.",
            "Bye bye.",
            "Bye, nano.",
            "Good night.",
            "Good night, nano.",
            "See you.",
            "See you tomorrow.",
            "I have to go now. Bye.",
            "I have to go now. Goodbye.",
            "That is all. Goodbye.",
            "That is all. Bye.",
        ),
        "Goodbye!",
        "Goodbye!",
        "says goodbye",
    ),
    Greeting(
        wordings(
            "How are you?",
            "How are you today?",
            "How are you, nano?",
            "Hello, how are you?",
            "Hi, how are you?",
            "Hey, how are you today?",
            "How do you do?",
            "Are you well?",
            "Are you well today?",
        ),
        "I am fine, thank you.",
        "Fine",
        "asks how I am",
    ),
)
_WHO = wordings(
    "Who are you?",
    "What are you?",
    "What is your name?",
    "Tell me who you are.",
    "Please tell me who you are.",
    "What is your name, please?",
    "Do you have a name?",
    "Which model are you?",
    "What model are you?",
    "Hello, who are you?",
    "Are you nano?",
    "Can you tell me who you are?",
)


def _words(draw: Draw) -> dict[str, object]:
    return {"topic": draw.phrase(2), "word": draw.word(), "name": draw.name(), "city": draw.city()}


def _sum(draw: Draw) -> dict[str, object]:
    a, b = draw.pair()
    word, sign = draw.one((("times", "*"), ("divided by", "/")))
    return {"a": a, "b": b, "word": word, "sign": sign}


def _query(draw: Draw) -> dict[str, object]:
    return {"query": draw.phrase(3)}


@dataclass(frozen=True)
class Unknown:
    """Questions of one sort, with how much of them to ask; `unfit` are the tools that could answer."""

    ways: Wordings
    slots: Callable[[Draw], Mapping[str, object]]
    share: float
    unfit: str = "search"


_UNKNOWNS = (
    Unknown(
        wordings(
            "Who won the match in {city}?",
            "Who won the match yesterday in {city}?",
            "Who won the {word} race last year?",
            "Who won the {word} cup yesterday?",
            "Who won the election in {city}?",
            "Who will win the race in {city}?",
            "Who will win the {word} cup this year?",
            "Who lost the game in {city} last week?",
            "What was in the news in {city} yesterday?",
            "Tell me the news of {city}.",
        ),
        _words,
        0.2,
    ),
    Unknown(
        wordings(
            "What is {topic}?",
            "What does {topic} mean?",
            "What do you know about {topic}?",
            "Tell me about {topic}.",
            "Tell me all about {topic}.",
            "Explain {topic}.",
            "Please explain {topic}.",
            "How does {topic} work?",
            "Why is {topic} good?",
            "Where does {topic} come from?",
            "How do I make {topic}?",
        ),
        _words,
        0.3,
    ),
    Unknown(
        wordings(
            "Who is {name}?",
            "Who was {name}?",
            "How old is {name}?",
            "Where does {name} live?",
            "What did {name} do?",
            "When did {name} live?",
            "What is the capital of {name}?",
            "Where is {name}?",
            "What is {name} like?",
        ),
        _words,
        0.15,
    ),
    Unknown(
        wordings(
            "Write a poem about {topic}.",
            "Please write a poem about {topic}.",
            "Write a story about {topic}.",
            "Can you write a story about {topic}?",
            "Write a song about {topic}.",
            "Write a story for {name}.",
            "Write code for {topic}.",
            "Please write code for {topic}.",
            "Can you write code that does {topic}?",
            "Tell me a story about {topic}.",
        ),
        _words,
        0.15,
    ),
    Unknown(
        wordings(
            "Translate {topic} into French.",
            "Please translate {topic} into German.",
            "Translate the word {word} into Spanish.",
            "What is {word} in German?",
            "What is {word} in French?",
            "How do you say {topic} in Spanish?",
            "How do I say {word} in French?",
            "Can you translate {topic} into German?",
        ),
        _words,
        0.1,
    ),
    Unknown(WEATHER, _words, 0.08, "weather"),
    Unknown(CALCULATE, _sum, 0.06, "calculator"),
    Unknown(SEARCH, _query, 0.04, "search"),
)
WORDINGS = (
    *(greeting.ways for greeting in _GREETINGS),
    _WHO,
    *(unknown.ways for unknown in _UNKNOWNS if unknown.ways not in (WEATHER, CALCULATE, SEARCH)),
)


def greet(draw: Draw) -> Turn:
    greeting = draw.one(_GREETINGS)
    analysis = Analysis(
        f"The user {greeting.about}.",
        f"The user {greeting.about}. There is nothing to look up or to work out. I answer: {greeting.answer}",
    )
    return Turn(draw.say(greeting.ways, anew=True), greeting.answer, analysis, greeting.word)


def refuse(draw: Draw) -> Turn:
    """Who nano is, what nobody has told, and what it does not know."""
    which = draw.random.random()
    if which < 0.15:
        analysis = Analysis(
            "The user asks who I am.",
            "The user asks about me. I am nano. I am a very small test model. I say that.",
        )
        return Turn(draw.say(_WHO, anew=True), IDENTITY, analysis)
    if which < 0.3:
        trait = draw.one(TRAITS)
        analysis = Analysis(
            f"The user did not say: {trait.key}.",
            f"The user asks for the {trait.key}. I look at what was said before."
            f" The {trait.key} was not said. So I do not know it.",
        )
        return Turn(draw.say(trait.asking, anew=True), UNKNOWN, analysis, unfit=frozenset({trait.key}))
    unknown = draw.random.choices(_UNKNOWNS, [unknown.share for unknown in _UNKNOWNS])[0]
    analysis = Analysis(
        "I do not know this.",
        "The user asks for something. I am a very small model and know little. This is not what I know."
        " So I say that I do not know it.",
    )
    question = draw.say(unknown.ways, unknown.slots(draw))
    return Turn(question, UNKNOWN, analysis, unfit=frozenset({unknown.unfit, "search"}))
