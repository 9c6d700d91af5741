"""What a model with random weights could write under a grammar."""

import random

import numpy as np

from ossctl.guide import Grammar
from ossctl.runtime.vocab import Vocabulary

_STEPS = 400


def sampled(vocab: Vocabulary, grammar: Grammar, seed: int) -> list[int]:
    """Tokens that a model with random weights could sample, if it were in a hurry."""
    rng = random.Random(seed)
    tokens: list[int] = []
    while not grammar.finished and len(tokens) < _STEPS:
        if grammar.complete and (rng.random() < 0.7 or len(tokens) > _STEPS // 4):
            break
        allowed = list(grammar.forced()[:1]) or np.flatnonzero(~grammar.banned()).tolist()
        closing = [token for token in allowed if vocab.piece(token)[:1] in (b"<", b'"', b"}", b"]")]
        token = rng.choice(closing if closing and rng.random() < 0.8 else allowed)
        if token in vocab.end_ids:
            break
        grammar.accept(token)
        tokens.append(token)
    return tokens
