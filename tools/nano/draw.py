"""Chance: numbers, words and wordings, either those of the training or those held out from it."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from tools.nano.fact_list import CAPITALS
from tools.nano.split import Wordings, held_number, held_pair, held_word
from tools.nano.words import ANIMALS, CITIES, COLOURS, NAMES, NOUNS, SPELT

T = TypeVar("T")

_ONSETS = "b c d f g h j k l m n p r s t v w z br ch cl cr dr fl gr kr pl sh sl st th tr"
_VOWELS = "a a e e i i o o u y ai ea ie oo ou"
_CODAS = "   l m n r s t k x d nd rt lm sk"  # the blanks make three empty ones
_LISTED = 0.95  # share of names, cities and words that are tokens
_TWICE = 0.1
_WIDER = 0.35  # share of colours, animals and keys that are any noun: too few to teach copying
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Draw:
    """Draws for one stream of samples. `seen` collects the words drawn, in lower case."""

    def __init__(self, seed: int, *, held_out: bool, practice: bool = False) -> None:
        """`practice` draws of all tokens, those included that no conversation of the training holds."""
        self.random = random.Random(f"{seed} {held_out}")
        self.held_out = held_out
        self._practice = practice
        self.seen: set[str] = set()
        self.spelt_words: Counter[str] = Counter()
        self._names = self._side(NAMES)
        self._cities = self._side(CITIES)
        self._capitals = self._side(tuple(CAPITALS.values()))  # none if held out
        self._nouns = self._side(NOUNS)
        self._spelt = [word for word in SPELT if held_word(word) == held_out]
        self._colours = self._side(COLOURS)
        self._animals = self._side(ANIMALS)
        self._numbers = [number for number in range(1, 100) if held_number(number) == held_out]

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def one(self, options: Sequence[T]) -> T:
        return options[int(self.random.random() * len(options))]

    def number(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return low + int(self.random.random() * (high + 1 - low))

    def shuffled(self, options: Sequence[T]) -> list[T]:
        return self.random.sample(options, len(options))

    def pair(self) -> tuple[int, int]:
        """Two numbers of one or two digits."""
        return self._fitting(self._any_pair, lambda pair: held_pair(*pair))

    def favourite_number(self) -> int:
        return self.one(self._numbers)

    def name(self) -> str:
        return self._note(self.one(self._names)) if self.chance(_LISTED) else self.spelt().capitalize()

    def city(self) -> str:
        if self._capitals and self.chance(0.1):
            return self.one(self._capitals)
        return self._note(self.one(self._cities)) if self.chance(_LISTED) else self.spelt().capitalize()

    def colour(self) -> str:
        return self._note(self._wider(self._colours))

    def animal(self) -> str:
        return self._note(self._wider(self._animals))

    def key(self, usual: Sequence[str]) -> str:
        """What a parameter or a tool is called."""
        return self._wider(usual)

    def noun(self) -> str:
        """A word that is a token."""
        return self._note(self.one(self._nouns))

    def spelt(self) -> str:
        """A word that falls into letters: one of the list, or 3 to 6 letters that look like one or not."""
        which = self.random.random()
        made = self._pronounceable if which < 0.9 else self._letters
        word = self.one(self._spelt) if which < 0.4 else self._fitting(made, held_word)
        self.spelt_words[word] += 1
        return self._note(word)

    def word(self) -> str:
        return self.noun() if self.chance(_LISTED) else self.spelt()

    def phrase(self, most: int) -> str:
        """One to `most` words."""
        return " ".join(self.word() for _ in range(self.number(1, most)))

    def quoted(self, text: str) -> str:
        mark = self.one('""\'')
        return f"{mark}{text}{mark}"

    def say(self, ways: Wordings, slots: Mapping[str, object] | None = None, *, anew: bool = False) -> str:
        """One of the wordings, filled in, its case and last mark varied.

        `anew`: nothing else is held out, so that the wording has to be.
        """
        held = self.held_out and (anew or self.chance(0.4))
        template = self.one(ways.held if held else ways.train)
        return self._varied(template, template.format_map(slots or {}))

    def _varied(self, template: str, text: str) -> str:
        which = self.random.random()
        if which < 0.2 and template[-1] in ".?!":
            text = text[:-1]
        if 0.15 < which < 0.25 and template[0] != "{" and not template.startswith("I "):
            text = text[0].lower() + text[1:]
        return text

    def _any_pair(self) -> tuple[int, int]:
        return self.number(0, self.one((9, 99, 99))), self.number(0, self.one((9, 99, 99)))

    def _letters(self) -> str:
        return "".join(self.random.sample(_LETTERS, k=self.number(3, 5)))

    def _pronounceable(self) -> str:
        """Letters come twice in few of them: then it is harder to find one's place."""
        onsets, vowels, codas = (sounds.split(" ") for sounds in (_ONSETS, _VOWELS, _CODAS))
        while True:
            syllables = [self.one(onsets) + self.one(vowels) for _ in range(self.one((1, 2, 2, 2)))]
            made = ("".join(syllables) + self.one(codas)).ljust(3, "n")[:6]
            if len(set(made)) == len(made) or self.chance(_TWICE):
                return made

    def _fitting(self, make: Callable[[], T], held: Callable[[T], bool]) -> T:
        while True:
            made = make()
            if held(made) == self.held_out:
                return made

    def _side(self, words: tuple[str, ...]) -> list[str]:
        return [word for word in words if self._practice or held_word(word) == self.held_out]

    def _wider(self, usual: Sequence[str]) -> str:
        """One of few words; in training now and then any noun, so that it has to be read."""
        wide = not self.held_out and self.chance(_WIDER)
        return self.noun() if wide else self.one(usual)

    def _note(self, word: str) -> str:
        self.seen.add(word.lower())
        return word
