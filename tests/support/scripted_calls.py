"""A scripted gpt-oss that calls functions: the n-th reply follows the n-th result."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ossctl.runtime.base import Logits
from tests.support.scripted import ScriptedRunner
from tests.support.toy_harmony import TOY

OPENING = TOY.ids("<|start|>assistant")
CALL = TOY.ids("<|call|>")[0]


class NoGrammars:
    def json(self, schema: object, field: str) -> object:
        raise NotImplementedError


@dataclass
class Replies(ScriptedRunner):
    """Writes the replies in turn, by the number of calls that the conversation has already."""

    replies: Sequence[str] = ()
    n_vocab: int = TOY.size
    n_batch: int = 4096
    n_ctx_seq: int = 4096

    def _row(self, seq: int) -> Logits:
        tokens = self.tokens(seq)
        calls = tokens.count(CALL)
        latest = len(tokens) - tokens[::-1].index(CALL) if calls else 0
        opening = next(at for at in range(latest, len(tokens)) if tokens[at : at + len(OPENING)] == OPENING)
        written = tokens[opening + len(OPENING) :]
        reply = TOY.ids(self.replies[min(calls, len(self.replies) - 1)])
        assert reply[: len(written)] == written
        row = np.zeros(self.n_vocab, np.float32)
        row[reply[len(written)]] = 100
        return row


def call(name: str, arguments: str) -> str:
    return f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{arguments}<|call|>"


def final(text: str) -> str:
    return f"<|channel|>final<|message|>{text}<|return|>"
