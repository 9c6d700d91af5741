"""Sums and differences of numbers of up to two digits."""

from tools.nano.draw import Draw
from tools.nano.split import wordings
from tools.nano.turn import Analysis, Turn

ADD = wordings(
    "What is {a} + {b}?",
    "What is {a} plus {b}?",
    "How much is {a} + {b}?",
    "How much is {a} plus {b}?",
    "{a} + {b}",
    "{a} plus {b}",
    "{a} + {b} = ?",
    "Add {a} and {b}.",
    "Please add {a} and {b}.",
    "Can you add {a} and {b}?",
    "Add {a} to {b}.",
    "Calculate {a} + {b}.",
    "Calculate {a} plus {b}.",
    "What is the sum of {a} and {b}?",
    "Tell me the sum of {a} and {b}.",
    "What do I get when I add {a} and {b}?",
    "Please tell me what {a} plus {b} is.",
    "What does {a} + {b} make?",
    "I have {a} {things} and {name} gives me {b} more. How many do I have?",
    "There are {a} red {things} and {b} blue {things}. How many {things} are there?",
    "One box holds {a} {things}, another holds {b}. How many {things} is that?",
    "{name} has {a} {things} and gets {b} more. How many {things} does {name} have?",
    "{name} buys {a} {things} and {b} {others}. How many is that in all?",
)
SUBTRACT = wordings(
    "What is {a} - {b}?",
    "What is {a} minus {b}?",
    "How much is {a} - {b}?",
    "How much is {a} minus {b}?",
    "{a} - {b}",
    "{a} minus {b}",
    "{a} - {b} = ?",
    "Subtract {b} from {a}.",
    "Please subtract {b} from {a}.",
    "Can you subtract {b} from {a}?",
    "Take {b} from {a}.",
    "Calculate {a} - {b}.",
    "Calculate {a} minus {b}.",
    "Tell me what {a} minus {b} is.",
    "What do I get when I subtract {b} from {a}?",
    "Please tell me what {a} - {b} is.",
    "What does {a} minus {b} make?",
)
LEFT_OVER = wordings(
    "I have {a} {things} and give away {b}. How many are left?",
    "There are {a} {things} and I take away {b}. How many {things} are left?",
    "A box holds {a} {things} and I take {b}. How many are left?",
    "{name} has {a} {things} and gives away {b}. How many {things} does {name} have left?",
    "{name} had {a} {things} and lost {b}. How many are left?",
    "Of {a} {things} I take {b}. How many {things} are left?",
)
WORDINGS = (ADD, SUBTRACT, LEFT_OVER)

_THINGS = ("apples", "books", "coins", "pens", "eggs", "cards", "balls", "cups")


def add(draw: Draw) -> Turn:
    a, b = draw.pair()
    question = asked(draw, a, "+", b)
    return Turn(question, f"{a} + {b} = {a + b}.", sum_analysis(a, b), str(a + b), unfit=_CALCULATOR)


def subtract(draw: Draw) -> Turn:
    a, b = draw.pair()
    if a < b and draw.chance(0.5):  # a quarter is negative
        a, b = b, a
    question = asked(draw, a, "-", b)
    return Turn(question, f"{a} - {b} = {a - b}.", difference_analysis(a, b), str(a - b), unfit=_CALCULATOR)


def asked(draw: Draw, a: int, sign: str, b: int) -> str:
    """A question for a sum or a difference."""
    ways = ADD if sign == "+" else LEFT_OVER if a >= b and draw.chance(0.25) else SUBTRACT
    things, others = draw.random.sample(_THINGS, 2)
    return draw.say(ways, {"a": a, "b": b, "things": things, "others": others, "name": draw.name()})


def sum_analysis(a: int, b: int) -> Analysis:
    """The written way: units, carry, tens. The check turns the units round, which shows no other sum."""
    units = a % 10 + b % 10
    carry, digits = units // 10, (a // 10, b // 10)
    medium = f"{a} + {b}: {a % 10} + {b % 10} = {units}"
    high = f"{a} + {b}: First the units: {a % 10} + {b % 10} = {units}. I write {units % 10}"
    if carry:
        medium += ", carry 1"
        high += " and carry 1"
    if any(digits):
        tens = f"{digits[0]} + {digits[1]}{' + 1' if carry else ''} = {sum(digits) + carry}"
        medium += f". {tens}"
        high += f". Then the tens: {tens}"
    check = f"Check: {b % 10} + {a % 10} = {units} ends in {units % 10}, and so does {a + b}."
    return Analysis(f"{medium}. So {a + b}.", f"{high}. Together that is {a + b}. {check}")


def difference_analysis(a: int, b: int) -> Analysis:
    """The smaller number from the larger: units, borrow, tens; then the sign."""
    large, small = max(a, b), min(a, b)
    borrow = int(large % 10 < small % 10)
    top = large % 10 + 10 * borrow
    units = top - small % 10
    medium = f"{top} - {small % 10} = {units}"
    high = f"First the units: {medium}. I write {units}"
    if borrow:
        medium += ", borrow 1"
        high += " and borrow 1"
    if large >= 10:
        tens = f"{large // 10} - {small // 10}{' - 1' if borrow else ''} = {(large - small) // 10}"
        medium += f". {tens}"
        high += f". Then the tens: {tens}"
    high += f". Together that is {large - small}. Check: {units} + {small % 10} = {top}, and {large} ends in"
    high += f" {large % 10}."
    if a < b:
        medium = f"{a} is less than {b}. {medium}"
        high = f"{a} is less than {b}, so I turn them round. {high} With the sign it is {a - b}."
    return Analysis(f"{a} - {b}: {medium}. So {a - b}.", f"{a} - {b}: {high}")


_CALCULATOR = frozenset({"calculator"})
