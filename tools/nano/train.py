"""Train nano: `python -m tools.nano.train OUT.pt [--steps N]`. Everything is drawn from one seed."""

import argparse
import itertools
import math
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from tools.nano.corpus import families
from tools.nano.drills import copy_rows, drill_rows
from tools.nano.model import NanoModel, Shape
from tools.nano.muon import Muon
from tools.nano.packing import IGNORED, Packer, Row
from tools.nano.start import look_back
from tools.nano.tokenizer import NanoTokenizer
from tools.nano.vocabulary import vocabulary

_SEED = 1
_STEPS = 8_000
_LENGTH = 384  # tokens a row
_ROWS = 8  # a step
_SHARD = 2_000  # rows that one process makes at a time
_COPYING, _EASING = 120, 600  # steps in which copies give way to drills, and both to conversations
_PRACTICE, _COPIES = 0.18, 0.25  # what is left of both, and the share of copies in that
_RATE = 2.5e-3  # of Muon, which shapes what is copied from where
_EARLY, _EARLY_RATE = 1_000, 5e-3  # steps in which copying is learnt; any longer, and it gets lost again
_ADAM = 0.3  # the rate of AdamW, for all else, as a share of Muon's
_WARM_UP = 40  # steps
_ROUNDING = 0.25  # the last share of the steps sees the weights as they are stored
_BALANCE = 0.01


def make_rows(tokenizer: NanoTokenizer, seed: int, count: int) -> list[Row]:
    """Rows of the samples that `seed` stands for."""
    packer = Packer(tokenizer, _LENGTH, seed)
    return list(itertools.islice(packer.pack(families(seed)), count))


def all_rows(tokenizer: NanoTokenizer, steps: int) -> npt.NDArray[np.int16]:
    """int16 [rows, 5, _LENGTH], in the order of the curriculum."""
    kinds = curriculum(steps)
    copied, drilled, talks = (int((kinds == kind).sum()) for kind in range(3))
    shards = math.ceil(talks / _SHARD)
    with ProcessPoolExecutor(2) as pool:
        made = pool.map(make_rows, [tokenizer] * shards, range(_SEED, _SEED + shards), [_SHARD] * shards)
        conversations = [row for shard in made for row in shard][:talks]
    np.random.default_rng(_SEED).shuffle(conversations)  # a list is shuffled in place
    rows = np.empty((len(kinds), 5, _LENGTH), np.int16)
    rows[kinds == 0] = list(itertools.islice(copy_rows(tokenizer, _LENGTH, _SEED), copied))
    rows[kinds == 1] = list(itertools.islice(drill_rows(tokenizer, _LENGTH, _SEED), drilled))
    rows[kinds == 2] = conversations
    return rows


def curriculum(steps: int) -> npt.NDArray[np.int64]:
    """What each row is: 0 copies, 1 drills, 2 conversations. One gives way to the next little by little."""
    step = np.repeat(np.arange(steps), _ROWS)
    practice = _PRACTICE + (1 - _PRACTICE) * np.maximum(0, 1 - step / _EASING)
    copies = practice * np.maximum(_COPIES, 1 - step / _COPYING)
    chance = np.random.default_rng(_SEED).random(len(step))
    return (chance > copies).astype(np.int64) + (chance > practice)


def train(steps: int, out: Path) -> None:
    torch.manual_seed(_SEED)
    torch.set_flush_denormal(True)  # gradients become that small, and products with them three times as slow
    tokenizer = vocabulary()
    print(f"{tokenizer.size} tokens in the vocabulary", flush=True)
    started = time.monotonic()
    rows = all_rows(tokenizer, steps)
    print(f"{len(rows)} rows in {time.monotonic() - started:.0f} s", flush=True)
    model = NanoModel(Shape(tokenizer.size))
    look_back(model)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    matrices = [p for name, p in model.layers.named_parameters() if _is_matrix(name)]
    others = [p for p in model.parameters() if not any(p is matrix for matrix in matrices)]
    optimizers = [
        Muon(matrices, lr=_RATE),
        torch.optim.AdamW(others, lr=_ADAM * _RATE, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    step_of = torch.compile(_loss)
    started, recent = time.monotonic(), []
    for step in range(steps):
        for optimizer, share in zip(optimizers, (1.0, _ADAM), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = share * _rate(step, steps)
        batch = torch.from_numpy(rows[step * _ROWS : (step + 1) * _ROWS].astype(np.int64))
        places = (batch[:, 4].flatten() != IGNORED).nonzero().flatten()
        torch._dynamo.mark_dynamic(places, 0)
        loss, balance = step_of(model, batch, places, step >= steps * (1 - _ROUNDING))
        (loss + _BALANCE * balance).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        recent.append(loss.item())
        if step % 50 == 49:
            seconds = time.monotonic() - started
            speed = (step + 1) * _ROWS * _LENGTH / seconds
            print(
                f"step {step + 1}/{steps} loss {np.mean(recent):.4f} balance {balance.item():.2f} "
                f"{speed:,.0f} tokens/s {seconds:.0f} s",
                flush=True,
            )
            recent.clear()
        if step % 500 == 499 or step == steps - 1:
            saved = {"shape": asdict(model.shape), "tokenizer": tokenizer, "model": model.state_dict()}
            torch.save(saved, out)


def _loss(model: NanoModel, batch: Tensor, places: Tensor, quantise: bool) -> tuple[Tensor, Tensor]:
    """`places`: where something is learnt, in the flattened rows."""
    tokens, positions, segments, parents, targets = batch.unbind(1)
    logits, balance = model(tokens, positions, visible(segments, parents), quantise, places)
    return F.cross_entropy(logits, targets.flatten()[places]), balance


def visible(segments: Tensor, parents: Tensor) -> Tensor:
    """Who may see whom, bool [B, L, L]: what came before in the same sample or above it."""
    length = segments.shape[1]
    before = torch.ones(length, length, dtype=torch.bool).tril()
    seen = segments[:, None, :]
    return before & ((seen == segments[:, :, None]) | (seen == parents[:, :, None]) | (seen == 0))


def _is_matrix(name: str) -> bool:
    return name.endswith(("q.weight", "k.weight", "v.weight", "out.weight", ".gate", ".up", ".down"))


def _rate(step: int, steps: int) -> float:
    """Muon's: high at first, then evenly down to 0."""
    if step < _EARLY:
        return _EARLY_RATE * min((step + 1) / _WARM_UP, 1 - step / steps)
    return _RATE * (steps - step) / (steps - _EARLY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=_STEPS)
    args = parser.parse_args()
    train(args.steps, args.out)


if __name__ == "__main__":
    main()
