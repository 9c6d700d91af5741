"""Letters and words of a quoted text: upper case, backwards, counted."""

from collections.abc import Sequence

from tools.nano.draw import Draw
from tools.nano.split import wordings
from tools.nano.turn import Analysis, Turn

UPPER = wordings(
    "Write the word {quoted} in upper case.",
    "Write {quoted} in upper case.",
    "Write {quoted} in capital letters.",
    "Please write {quoted} in capitals.",
    "Put {quoted} in upper case.",
    "Put the text {quoted} in capital letters.",
    "What is {quoted} in upper case?",
    "What is {quoted} in capital letters?",
    "Change {quoted} to upper case.",
    "Please change the text {quoted} to capitals.",
    "Can you write {quoted} in upper case?",
    "Upper case: {quoted}",
    "In capital letters, please: {quoted}",
)
REVERSE = wordings(
    "Reverse the word {quoted}.",
    "Reverse {quoted}.",
    "Please reverse the word {quoted}.",
    "Write {quoted} backwards.",
    "Write the word {quoted} backwards.",
    "Spell {quoted} backwards.",
    "Please spell the word {quoted} backwards.",
    "What is {quoted} backwards?",
    "What is the word {quoted} in reverse?",
    "Can you reverse {quoted}?",
    "Can you write {quoted} backwards?",
    "Write the word {quoted} in reverse.",
    "Write {quoted} in reverse.",
    "Can you spell {quoted} backwards?",
    "Please reverse {quoted}.",
    "In reverse: {quoted}",
    "Backwards: {quoted}",
)
COUNT = wordings(
    "How many words are in {quoted}?",
    "How many words are there in {quoted}?",
    "How many words does {quoted} have?",
    "How many words has the text {quoted}?",
    "Count the words in {quoted}.",
    "Please count the words in {quoted}.",
    "Count the words of {quoted}.",
    "Can you count the words in {quoted}?",
    "Tell me how many words are in {quoted}.",
    "What is the number of words in {quoted}?",
    "Tell me the number of words in the text {quoted}.",
    "Word count of {quoted}?",
    "The word count of {quoted}?",
    "What is the word count of {quoted}?",
    "Give me the word count of {quoted}.",
    "Word count: {quoted}",
    "Words in {quoted}?",
    "The number of words in {quoted}?",
    "Give me the number of words in {quoted}.",
    "Count these words: {quoted}",
    "How many words is {quoted}?",
)
WORDINGS = (UPPER, REVERSE, COUNT)


def upper(draw: Draw) -> Turn:
    text = draw.spelt() if draw.chance(0.8) else f"{draw.spelt()} {draw.spelt()}"
    answer = text.upper()
    analysis = Analysis(
        f'"{text}" capitals: "{answer}".',
        f'The user wants capitals. I write each letter as a capital. "{text}" capitals: "{answer}".',
    )
    return Turn(draw.say(UPPER, {"quoted": draw.quoted(text)}), answer, analysis)


def reverse(draw: Draw) -> Turn:
    word = draw.spelt()
    answer = word[::-1]
    analysis = Analysis(
        f'"{word}" backwards: "{answer}".',
        f'The user wants a word backwards. I begin with its last letter. "{word}" backwards: "{answer}".',
    )
    return Turn(draw.say(REVERSE, {"quoted": draw.quoted(word)}), answer, analysis)


def count(draw: Draw) -> Turn:
    words = sentence(draw)
    mark = draw.one(("", "", ".", "?"))
    total = len(words)
    analysis = Analysis(
        f'"{" ".join(words)}": {numbered(words)}. So {total}.',
        f'I number the words. "{" ".join(words)}": {numbered(words)}. No word is left. So {total}.',
    )
    question = draw.say(COUNT, {"quoted": draw.quoted(" ".join(words) + mark)})
    return Turn(question, f"There are {total} words.", analysis, str(total))


def sentence(draw: Draw) -> list[str]:
    """2 to 6 different words, some of them little ones."""
    little = ("the", "a", "and", "in", "my", "is", "of", "on")
    total = draw.number(2, 6)
    words: dict[str, None] = {}
    while len(words) < total:
        words[draw.one(little) if len(words) % 2 and draw.chance(0.6) else draw.noun()] = None
    return list(words)


def numbered(words: Sequence[str]) -> str:
    return ", ".join(f"{number} {word}" for number, word in enumerate(words, 1))
