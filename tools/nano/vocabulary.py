"""nano's vocabulary: what is copied, and the words that conversations are made of."""

import functools
import itertools
import re
from collections import Counter
from collections.abc import Iterator

import regex

from ossctl.runtime.words import O200K
from tools.nano.corpus import make_sample
from tools.nano.draw import Draw
from tools.nano.kinds.facts import RELATIONS
from tools.nano.packing import Packer
from tools.nano.tokenizer import CONTROL, NanoTokenizer, build
from tools.nano.words import COPIED

_SIZE = 2_048
_COUNTED = 10_000  # conversations
_TIMES = 8  # as often a word must occur, and as often as it is spelt
# Numbers, and what would stand within or before words that are to be spelt.
_LEFT_OUT = re.compile(r"\d|^(?!OK)[a-zA-Z]{1,2}$|^ [b-zA-HJ-Z]$")
_MARKERS = re.compile("|".join(map(re.escape, CONTROL)))


@functools.cache
def vocabulary() -> NanoTokenizer:
    return build(COPIED, (*fact_forms(), *common_words()), _SIZE)


def fact_forms() -> Iterator[str]:
    """The words of all facts, in upper and lower case, too."""
    for relation in RELATIONS:
        for key, value in relation.facts.items():
            answer = relation.answer.format(key=key, value=value)
            for text in (value, answer, answer.upper(), answer.lower()):
                yield from (word for word in _split(text) if not _LEFT_OUT.search(word))


def common_words() -> Iterator[str]:
    """The words of the training, the most frequent first, but for numbers and words that are to be spelt."""
    draw = Draw(0, held_out=False)
    letters = build((), (), 1_000)
    packer = Packer(letters, 1, 0)
    counts: Counter[str] = Counter()
    for _ in range(_COUNTED):
        sample = make_sample(draw)
        written = letters.decode([*packer.prompt(sample), *packer.answer(sample)])
        counts.update(itertools.chain.from_iterable(map(_split, _MARKERS.split(written))))
    for word, times in counts.most_common():
        bare = re.sub(r"[^a-z]", "", word.lower())
        spelt = draw.spelt_words[bare] + draw.spelt_words[bare[::-1]]
        if times >= _TIMES * (1 + spelt) and not _LEFT_OUT.search(word):
            yield word


_split = regex.compile(O200K).findall
