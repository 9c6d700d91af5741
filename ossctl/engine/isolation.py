"""Decoding so that a sequence's logits do not depend on what other sequences do.

A kernel may sum in another order for another number of rows: for a single one, for a prompt that is cut
elsewhere or shares a batch. So the shape of a decode must not depend on other requests. A prompt is decoded
by itself, in ubatches from its start, and nothing of it is taken from another sequence. Everything else is
decoded as one token of each sequence, idle ones included.
"""

from collections.abc import Iterable

import numpy as np

from ossctl.engine.sequence import Sequence
from ossctl.runtime.base import Chunk, Logits, Runner

_ANY_TOKEN = np.zeros(1, np.int32)

Batch = list[tuple[Sequence, Chunk]]


def isolated_batch(running: Iterable[Sequence], n_ubatch: int) -> Batch:
    """The next ubatch of one prompt, or the next token of every sequence, in order of sequence ids."""
    batch: Batch = []
    for sequence in running:
        if sequence.prefilling:
            return [(sequence, sequence.next_chunk(n_ubatch))]
        if sequence.num_uncomputed_tokens:
            batch.append((sequence, sequence.next_chunk(1)))
    return sorted(batch, key=lambda item: item[1].seq)


def decode_isolated(runner: Runner, chunks: list[Chunk]) -> Logits:
    """As `Runner.decode`, for a batch of `isolated_batch`. Idle sequences are empty afterwards."""
    if any(len(chunk.tokens) > 1 or not chunk.wants_logits for chunk in chunks):
        return runner.decode(chunks)
    used = [chunk.seq for chunk in chunks]
    idle = [seq for seq in range(runner.n_seq) if seq not in used]
    for seq in idle:
        runner.rollback(seq, 0)
    padding = [Chunk(seq, _ANY_TOKEN, wants_logits=True) for seq in idle]
    try:
        logits = runner.decode(sorted([*chunks, *padding], key=lambda chunk: chunk.seq))
    finally:
        for seq in idle:
            runner.rollback(seq, 0)
    return logits[used]
