"""Samples to training rows: those under the same system and developer messages share them."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from ossctl.dialect import ToolCall
from ossctl.guide import Grammar
from ossctl.harmony.dialect import HarmonyDialect
from ossctl.harmony.layout import JSON
from ossctl.harmony.markers import Markers
from ossctl.harmony.native_tools import FUNCTIONS
from ossctl.harmony.renderer import Renderer
from tools.nano.corpus import Sample
from tools.nano.tokenizer import NanoTokenizer

IGNORED = -100  # a target that has no part in the loss

_GAPS = 0.1  # share of the places where turns might have been that are left out
_FURTHEST = 600  # tokens
_OPEN = 8  # packs of a kind that wait for something that fits

Row = npt.NDArray[np.int16]


class NoGrammars:
    """Prompts need none."""

    def json(self, schema: object, field: str) -> Grammar:
        raise NotImplementedError

    def text(self, text_format: object) -> Grammar:
        raise NotImplementedError

    def lark(self, text: str, schemas: object, field: str) -> Grammar:
        raise NotImplementedError


@dataclass(frozen=True)
class Family:
    """Token ids of samples with the same beginning: one system message and maybe a developer message.

    Each sample comes with which of its tokens the model learns to write.
    """

    system: list[int]
    developer: list[int]
    samples: list[tuple[list[int], list[bool]]]


class Pack:
    """One row in the making, begun with a system message.

    A token's segment is 0 in the system message, which all see; else what it is a part of, a developer
    message or a sample. A sample's `parents` are the developer message that it sees, too, or 0. What comes
    after the system message stands `gap` positions further on, as in a longer conversation.
    """

    def __init__(self, system: list[int], gap: int) -> None:
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.segments: list[int] = []
        self.parents: list[int] = []
        self.targets: list[int] = []
        self.developer: list[int] = []  # the latest
        self._start = len(system) + gap
        self._parent = self._count = 0
        self.add(system, 0, 0, [False] * len(system))

    def needs(self, family: Family, sample: list[int]) -> int:
        """The tokens that a sample of the family would add."""
        return len(sample) + (len(family.developer) if self.developer is not family.developer else 0)

    def put(self, family: Family, sample: list[int], taught: list[bool], gap: int) -> None:
        """Add a sample, `gap` positions after what it sees."""
        developer = family.developer
        if self.developer is not developer:
            self.developer = developer
            self._parent = self.add(developer, self._start, 0, [False] * len(developer)) if developer else 0
        self.add(sample, self._start + len(developer) + gap, self._parent, taught)

    def row(self, length: int) -> Row:
        padding = length - len(self.tokens)
        columns = (
            self.tokens + [0] * padding,
            self.positions + [0] * padding,
            self.segments + [-1] * padding,
            self.parents + [0] * padding,
            self.targets + [IGNORED] * padding,
        )
        return np.array(columns, np.int16)

    def add(self, tokens: list[int], start: int, parent: int, taught: list[bool]) -> int:
        segment, self._count = self._count, self._count + 1
        self.tokens += tokens
        self.positions += range(start, start + len(tokens))
        self.segments += [segment] * len(tokens)
        self.parents += [parent] * len(tokens)
        following = zip([*tokens, IGNORED][1:], [*taught, False][1:], strict=True)
        self.targets += [token if learnt else IGNORED for token, learnt in following]
        return segment


class Packer:
    """Fills rows of `length` tokens, int16 [5, length]: tokens, positions, segments, parents, targets."""

    def __init__(self, tokenizer: NanoTokenizer, length: int, seed: int) -> None:
        markers = Markers.of(tokenizer)
        assert markers is not None
        self._length = length
        self._markers = markers
        self._renderer = Renderer(tokenizer, markers)
        self._tokenizer = tokenizer
        self._dialect = HarmonyDialect(tokenizer, markers, NoGrammars())
        self._random = random.Random(seed)
        self._open: dict[tuple[object, ...], list[Pack]] = {}

    def pack(self, families: Iterable[list[Sample]]) -> Iterator[Row]:
        """Rows of all samples; one that is longer than a row is left out."""
        for samples in families:
            conversation = samples[0].conversation
            packs = self._open.setdefault((conversation.effort or "medium", bool(conversation.tools)), [])
            family = self._family(samples)
            for tokens, taught in family.samples:
                if len(family.system) + len(family.developer) + len(tokens) > self._length:
                    continue
                fitting = [pack for pack in packs if self._left(pack) >= pack.needs(family, tokens)]
                if not fitting:
                    if len(packs) == _OPEN:
                        packs.sort(key=self._left)
                        yield packs.pop(0).row(self._length)
                    packs.append(Pack(family.system, self._gap()))
                    fitting = packs[-1:]
                tightest = min(fitting, key=lambda pack: self._left(pack) - pack.needs(family, tokens))
                tightest.put(family, tokens, taught, self._gap())

    def _gap(self) -> int:
        return self._random.randrange(_FURTHEST) if self._random.random() < _GAPS else 0

    def _left(self, pack: Pack) -> int:
        return self._length - len(pack.tokens)

    def answer(self, sample: Sample) -> list[int]:
        """What the model is to write after `<|start|>assistant`."""
        renderer, markers, tokenize = self._renderer, self._markers, self._tokenizer.tokenize
        ids: list[int] = []
        if sample.reasoning:
            ids += [*renderer.header("analysis"), *tokenize(sample.reasoning), markers.end]
            ids += renderer.prompt(())
        if isinstance(sample.answer, ToolCall):
            header = renderer.header("commentary", f"{FUNCTIONS}.{sample.answer.name}", JSON)
            return [*ids, *header, *tokenize(sample.answer.arguments), markers.call]
        return [*ids, *renderer.header("final"), *tokenize(sample.answer), markers.done]

    def prompt(self, sample: Sample, today: date = date(2026, 3, 14)) -> list[int]:
        return self._dialect.render(replace(sample.conversation, date=today))

    def _family(self, samples: list[Sample]) -> Family:
        today = date(2024, 1, 1) + timedelta(days=self._random.randrange(4000))
        prompts = [self.prompt(sample, today) for sample in samples]
        first, start = prompts[0], self._markers.start
        system = first.index(start, 1)
        developer = system
        if samples[0].conversation.messages[0].role == "system" or self._has_developer(samples[0]):
            developer = first.index(start, system + 1)
        assert all(prompt[:developer] == first[:developer] for prompt in prompts)
        trees = []
        for sample, prompt in zip(samples, prompts, strict=True):
            told, answer = prompt[developer:], self.answer(sample)
            trees.append((told + answer, [*self._earlier(told), *([True] * len(answer))]))
        return Family(first[:system], first[system:developer], trees)

    def _has_developer(self, sample: Sample) -> bool:
        return bool(sample.conversation.tools) or sample.conversation.json_format is not None

    def _earlier(self, prompt: list[int]) -> list[bool]:
        """Which tokens of a prompt the model wrote itself: the contents of earlier answers."""
        markers, assistant = self._markers, self._renderer.prompt(())[1]
        taught, inside, own = [], False, False
        for before, token in zip([0, *prompt], prompt, strict=False):
            if token in (markers.start, markers.end):
                inside = False
            taught.append(inside)
            own = token == assistant if before == markers.start else own
            inside = (inside or (own and token == markers.message)) and token != markers.call
        return taught
