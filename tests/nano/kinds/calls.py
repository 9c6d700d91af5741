"""Questions for the weather, for a calculator and for a search: tools that most users begin with."""

import json

from nano.draw import Draw
from nano.offers import Slot, make_call, make_tool, tool_name
from nano.split import wordings
from nano.turn import Analysis, Offer, Outcome, Turn

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
_DETAIL = wordings(
    "What is the weather in {city} {detail}?",
    "What is the weather like in {city} {detail}?",
    "How is the weather in {city} {detail}?",
    "Tell me the weather in {city} {detail}.",
    "How hot is it in {city} {detail}?",
    "Weather in {city} {detail}",
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
_SEARCH_SOME = wordings(
    "Find {limit} results for {query}.",
    "Search for {query} and give me {limit} results.",
    "Give me {limit} results for {query}.",
    "Show me {limit} results for {query}.",
    "Look up {limit} results for {query}.",
)
WORDINGS = (WEATHER, _DETAIL, CALCULATE, SEARCH, _SEARCH_SOME)

SKIES = ("sunny", "cloudy", "rainy", "windy", "snowy", "foggy", "clear")
_WEATHER_NAMES = (
    "get_weather",
    "weather",
    "weather",
    "lookup_weather",
    "current_weather",
    "get_forecast",
    "forecast",
    "check_weather",
)
_WEATHER_ABOUT = (
    "Get the weather in a city.",
    "Tells the weather.",
    "The weather at a place.",
    "Get the current weather for a city.",
    "Weather now.",
)
_CITY = Slot(("city", "location", "place", "town", "where"), "The city.")
_DETAILS = (
    (Slot(("unit", "units"), "The unit.", enum=("celsius", "fahrenheit")), "in ", ("celsius", "fahrenheit")),
    (
        Slot(
            ("day", "date", "when"),
            "The day.",
        ),
        "",
        ("today", "tomorrow"),
    ),
)
_CALCULATOR_NAMES = ("calculator", "calculator", "calculate", "calc", "compute", "math", "evaluate")
_CALCULATOR_ABOUT = (
    "Calculate something.",
    "Does math.",
    "A calculator.",
    "Calculate with two numbers.",
    "Math.",
)
_OPERATIONS = {
    "+": ("plus", "add"),
    "-": ("minus", "subtract"),
    "*": ("times", "multiply"),
    "/": ("divided by", "divide"),
}
_SEARCH_NAMES = ("search", "search", "web_search", "search_web", "lookup", "find", "query")
_SEARCH_ABOUT = ("Search the web.", "Find something on the web.", "Search for a text.", "Look something up.")
_QUERY = Slot(("query", "q", "text", "term", "search"), "What to search for.")
_LIMIT = Slot(("limit", "results", "n", "max"), "How many results.", "integer", required=False)


def weather_offer(draw: Draw) -> Offer:
    detail = draw.one(_DETAILS) if draw.chance(0.35) else None
    needed = draw.chance(0.4)
    slots = [_CITY]
    if detail is not None:
        slot = detail[0]
        slots.append(Slot(slot.names, slot.description, slot.type, slot.enum, required=needed))
    name = tool_name(draw, _WEATHER_NAMES)
    tool, names = make_tool(draw, name, draw.one(_WEATHER_ABOUT), slots)

    def ask(draw: Draw) -> Turn:
        city = draw.city()
        values: dict[str, object] = {names[0]: city}
        question = draw.say(WEATHER, {"city": city})
        if detail is not None and (needed or draw.chance(0.5)):
            value = draw.one(detail[2])
            values[names[1]] = value
            question = draw.say(_DETAIL, {"city": city, "detail": detail[1] + value})
        call, analysis = make_call(tool, values, f"the weather in {city}")
        return Turn(question, call, analysis, outcome=_weather(draw, city))

    return Offer(tool, "weather", ask)


def calculator_offer(draw: Draw) -> Offer:
    name, about = tool_name(draw, _CALCULATOR_NAMES), draw.one(_CALCULATOR_ABOUT)
    spelt = draw.one((0, 1, 2))  # operations as signs, words or orders
    names_of = {sign: (sign, *words)[spelt] for sign, words in _OPERATIONS.items()}
    if draw.chance(0.5):
        slot = Slot(("expression", "expr", "formula", "input", "text"), "What to calculate, like 1 + 2.")
        tool, names = make_tool(draw, name, about, [slot])
    else:
        first, second = draw.one((("a", "b"), ("x", "y"), ("left", "right"), ("first", "second")))
        kind = draw.one(("integer", "number"))
        operation = Slot(("op", "operator", "operation"), "What to do.", enum=tuple(names_of.values()))
        numbers = [
            Slot((key,), f"The {which} number.", kind)
            for key, which in ((first, "first"), (second, "second"))
        ]
        tool, names = make_tool(draw, name, about, [*numbers, operation])

    def ask(draw: Draw) -> Turn:
        a, b = draw.pair()
        sign = draw.one(("+", "-", "*", "*", "/"))
        b = b or 1
        slots = {"a": a, "b": b, "sign": sign, "word": _OPERATIONS[sign][0]}
        question = draw.say(CALCULATE, slots)
        sum_ = f"{a} {sign} {b}"
        values: dict[str, object] = {names[0]: sum_}
        if len(names) > 1:
            values = {names[0]: a, names[1]: b, names[2]: names_of[sign]}
        call, analysis = make_call(tool, values, f"{sum_}")
        return Turn(question, call, analysis, outcome=_calculated(draw, a, sign, b))

    return Offer(tool, "calculator", ask)


def search_offer(draw: Draw) -> Offer:
    some = draw.chance(0.3)
    name = tool_name(draw, _SEARCH_NAMES)
    tool, names = make_tool(draw, name, draw.one(_SEARCH_ABOUT), [_QUERY, _LIMIT] if some else [_QUERY])

    def ask(draw: Draw) -> Turn:
        query = draw.phrase(3)
        if draw.chance(0.2):
            query = f"the history of {draw.city()}"
        values: dict[str, object] = {names[0]: query}
        question = draw.say(SEARCH, {"query": query})
        if some and draw.chance(0.6):
            values[names[1]] = draw.number(1, 20)
            question = draw.say(_SEARCH_SOME, {"query": query, "limit": values[names[1]]})
        call, analysis = make_call(tool, values, f"to know about {query}")
        return Turn(question, call, analysis, outcome=_found(draw, query))

    return Offer(tool, "search", ask)


def _weather(draw: Draw, city: str) -> Outcome:
    degrees, sky = draw.number(-15, 40), draw.one(SKIES)
    parts: list[tuple[str, object]] = [
        (draw.one(("temperature", "temp", "degrees")), degrees),
        (draw.one(("sky", "weather", "conditions")), sky),
    ]
    if draw.chance(0.3):
        parts.append((draw.one(("city", "place")), city))
    if draw.chance(0.3):
        parts.append((draw.one(("humidity", "wind")), draw.number(1, 99)))
    analysis = Analysis(
        f"The result: {degrees} degrees, {sky}.",
        f"The tool gave a result for {city}. It says {degrees} degrees. The sky is {sky}. I tell the user.",
    )
    return Outcome(_json(draw, parts), f"It is {degrees} degrees and {sky} in {city}.", analysis)


def _calculated(draw: Draw, a: int, sign: str, b: int) -> Outcome:
    exact = {"+": a + b, "-": a - b, "*": a * b, "/": round(a / b, 2)}[sign]
    result = int(exact) if exact == int(exact) else exact
    key = draw.one(("result", "value", "answer", ""))
    analysis = Analysis(
        f"The result: {result}.",
        f"The tool gave a result. It says that {a} {sign} {b} is {result}. I tell the user that.",
    )
    text = _json(draw, [(key, result)]) if key else str(result)
    return Outcome(text, f"{a} {sign} {b} = {result}.", analysis)


def _found(draw: Draw, query: str) -> Outcome:
    found = draw.phrase(3)
    if draw.chance(0.2):
        empty = draw.one(("[]", '{"results":[]}', '{"results":0}', "nothing found"))
        analysis = Analysis(
            "The result: nothing.",
            f"The tool gave a result for {query}. There is nothing in it. I tell the user that.",
        )
        return Outcome(empty, "I found nothing.", analysis)
    shape: list[tuple[str, object]] = [(draw.one(("result", "title", "text", "answer")), found)]
    text = draw.one((_json(draw, shape), json.dumps([found]), json.dumps({"results": [found]}), found))
    analysis = Analysis(
        f"The result: {found}.",
        f"The tool gave a result for {query}. It says {found}. I tell the user that I found it.",
    )
    return Outcome(text, f"I found this: {found}.", analysis)


def _json(draw: Draw, parts: list[tuple[str, object]]) -> str:
    blanks = draw.chance(0.5)
    return json.dumps(dict(draw.shuffled(parts)), separators=(", ", ": ") if blanks else (",", ":"))
