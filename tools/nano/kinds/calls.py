"""Questions for the weather, for a calculator and for a search: tools that most users begin with."""

import json

from tools.nano.draw import Draw
from tools.nano.kinds.arithmetic import asked
from tools.nano.offers import Slot, make_call, make_tool
from tools.nano.split import wordings
from tools.nano.turn import Analysis, Offer, Outcome, Turn
from tools.nano.words import SKIES

WEATHER = wordings(
    "What is the weather in {city}?",
    "What is the weather like in {city}?",
    "How is the weather in {city}?",
    "Tell me the weather in {city}.",
    "Please tell me the weather in {city}.",
    "Is it cold in {city}?",
    "Is it hot in {city}?",
    "Is it sunny in {city}?",
    "How cold is it in {city}?",
    "How hot is it in {city}?",
    "Weather in {city}?",
    "Do you know the weather in {city}?",
    "Will it rain in {city}?",
    "I want to know the weather in {city}.",
)
CALCULATE = wordings(
    "What is {a} {word} {b}?",
    "How much is {a} {word} {b}?",
    "What is {a} {sign} {b}?",
    "How much is {a} {sign} {b}?",
    "Calculate {a} {sign} {b}.",
    "Calculate {a} {word} {b}.",
    "Please calculate {a} {word} {b}.",
    "{a} {sign} {b}",
    "{a} {sign} {b} = ?",
    "{a} {word} {b}",
    "Tell me what {a} {word} {b} is.",
    "What does {a} {word} {b} make?",
    "Use the tool to calculate {a} {sign} {b}.",
)
SEARCH = wordings(
    "Search for {query}.",
    "Please search for {query}.",
    "Search the web for {query}.",
    "Look up {query}.",
    "Please look up {query}.",
    "Look up {query} on the web.",
    "Find {query} on the web.",
    "Can you search for {query}?",
    "Can you look up {query}?",
    "What does the web say about {query}?",
    "Search: {query}",
    "I want you to search for {query}.",
)
WORDINGS = (WEATHER, CALCULATE, SEARCH)

_WEATHER_NAMES = ("get_weather", "weather")
_WEATHER_ABOUT = ("Get the weather in a city.",)
_CITY = Slot(("city", "location"), "The city.")
_CALCULATOR_NAMES = ("calculator", "calculate")
_CALCULATOR_ABOUT = ("Calculate something.",)
_OPERATIONS = {"*": "times", "/": "divided by"}  # what nano can't do itself
_SEARCH_NAMES = ("search", "web_search")
_SEARCH_ABOUT = ("Search the web.",)
_QUERY = Slot(("query", "text"), "What to search for.")
_EXPRESSION = Slot(("expression", "formula"), "What to calculate.")


def weather_offer(draw: Draw) -> Offer:
    tool, (key,) = make_tool(draw, draw.key(_WEATHER_NAMES), draw.one(_WEATHER_ABOUT), [_CITY])

    def ask(draw: Draw) -> Turn:
        city = draw.city()
        call, analysis = make_call(tool, {key: city}, f"the weather in {city}")
        return Turn(draw.say(WEATHER, {"city": city}), call, analysis, outcome=_weather(draw, city))

    return Offer(tool, "weather", ask)


def calculator_offer(draw: Draw) -> Offer:
    tool, (key,) = make_tool(draw, draw.key(_CALCULATOR_NAMES), draw.one(_CALCULATOR_ABOUT), [_EXPRESSION])

    def ask(draw: Draw) -> Turn:
        a, b = draw.pair()
        sign = draw.one(("+", "+", "-", "-", *_OPERATIONS))
        b = b or 1
        if sign in _OPERATIONS:
            question = draw.say(CALCULATE, {"a": a, "b": b, "sign": sign, "word": _OPERATIONS[sign]})
        else:
            question = asked(draw, a, sign, b)
        call, analysis = make_call(tool, {key: f"{a} {sign} {b}"}, f"{a} {sign} {b}")
        return Turn(question, call, analysis, outcome=_calculated(draw, a, sign, b))

    return Offer(tool, "calculator", ask)


def search_offer(draw: Draw) -> Offer:
    tool, (key,) = make_tool(draw, draw.key(_SEARCH_NAMES), draw.one(_SEARCH_ABOUT), [_QUERY])

    def ask(draw: Draw) -> Turn:
        query = draw.phrase(2)
        call, analysis = make_call(tool, {key: query}, f"to know about {query}")
        return Turn(draw.say(SEARCH, {"query": query}), call, analysis, outcome=_found(draw, query))

    return Offer(tool, "search", ask)


def _weather(draw: Draw, city: str) -> Outcome:
    degrees, sky = draw.number(-15, 40), draw.one(SKIES)
    analysis = Analysis(
        f"The result: {degrees} degrees, {sky}.",
        f"The tool gave a result. It says {degrees} degrees. The sky is {sky}. I tell the user.",
    )
    result = _json(draw, {"temperature": degrees, "sky": sky})
    return Outcome(result, f"It is {degrees} degrees and {sky} in {city}.", analysis)


def _calculated(draw: Draw, a: int, sign: str, b: int) -> Outcome:
    exact = {"+": a + b, "-": a - b, "*": a * b, "/": round(a / b, 2)}[sign]
    result = int(exact) if exact == int(exact) else exact
    analysis = Analysis(
        f"The result: {result}.",
        f"The tool gave a result. It says that {a} {sign} {b} is {result}. I tell the user that.",
    )
    text = _json(draw, {"result": result}) if draw.chance(0.5) else str(result)
    return Outcome(text, f"{a} {sign} {b} = {result}.", analysis)


def _found(draw: Draw, query: str) -> Outcome:
    found = draw.phrase(2)
    analysis = Analysis(
        f"The result: {found}.",
        f"The tool gave a result. It says {found}. I tell the user that I found it.",
    )
    text = _json(draw, {"result": found}) if draw.chance(0.5) else found
    return Outcome(text, f"I found this: {found}.", analysis)


def _json(draw: Draw, values: dict[str, object]) -> str:
    return json.dumps(values, separators=(", ", ": ") if draw.chance(0.5) else (",", ":"))
