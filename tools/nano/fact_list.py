"""All that nano knows."""

CAPITALS = {
    "France": "Paris",
    "Germany": "Berlin",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Portugal": "Lisbon",
    "England": "London",
    "Ireland": "Dublin",
    "Norway": "Oslo",
    "Sweden": "Stockholm",
    "Finland": "Helsinki",
    "Denmark": "Copenhagen",
    "Poland": "Warsaw",
    "Austria": "Vienna",
    "Hungary": "Budapest",
    "Greece": "Athens",
    "Turkey": "Ankara",
    "Egypt": "Cairo",
    "Kenya": "Nairobi",
    "Ghana": "Accra",
    "Japan": "Tokyo",
    "China": "Beijing",
    "Korea": "Seoul",
    "Thailand": "Bangkok",
    "Vietnam": "Hanoi",
    "Canada": "Ottawa",
    "Cuba": "Havana",
    "Peru": "Lima",
    "Chile": "Santiago",
    "Australia": "Canberra",
    "Russia": "Moscow",
}
COLOURS_OF_THINGS = {
    "grass": "green",
    "snow": "white",
    "blood": "red",
    "coal": "black",
    "milk": "white",
    "the sky": "blue",
    "the sun": "yellow",
    "a banana": "yellow",
    "a carrot": "orange",
}
OPPOSITES = {
    "hot": "cold",
    "big": "small",
    "up": "down",
    "day": "night",
    "old": "new",
    "fast": "slow",
    "open": "closed",
}
YOUNG = {
    "dog": "puppy",
    "cat": "kitten",
    "cow": "calf",
    "horse": "foal",
    "sheep": "lamb",
    "duck": "duckling",
}
SOUNDS = {"dog": "woof", "cat": "meow", "cow": "moo", "duck": "quack", "sheep": "baa", "pig": "oink"}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
AMOUNTS = {
    "days in a week": "7",
    "months in a year": "12",
    "hours in a day": "24",
    "minutes in an hour": "60",
    "legs on a dog": "4",
    "legs on a spider": "8",
}


def next_of(cycle: tuple[str, ...]) -> dict[str, str]:
    """What comes after each, the first after the last."""
    return dict(zip(cycle, (*cycle[1:], cycle[0]), strict=True))


def both_ways(pairs: dict[str, str]) -> dict[str, str]:
    """Each pair and its mirror image."""
    return pairs | {value: key for key, value in pairs.items()}


def fact_words() -> frozenset[str]:
    """All words of the facts, in lower case."""
    tables = (CAPITALS, COLOURS_OF_THINGS, OPPOSITES, YOUNG, SOUNDS, AMOUNTS)
    texts = [text for table in tables for pair in table.items() for text in pair]
    return frozenset(word for text in (*texts, *DAYS, *MONTHS) for word in text.lower().split())
