"""Ask nano what it never saw: `python -m tools.nano.evaluate MODEL.gguf [--count 1000] [--readme README.md]`.

Greedy, through the product's own rendering, engine and parser, without any constraint: what is counted is
what the model itself does. `--readme` puts the table there; `--listing` writes all prompts with what was
expected and what came.
"""

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from ossctl.app.inference.engine_thread import EngineThread
from ossctl.app.inference.generation import Generation
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel, LoadOptions, load_model
from ossctl.dialect import ToolCall
from ossctl.engine.request import FinishReason, Request, Sampling
from ossctl.planning.workload import Workload
from tools.nano.corpus import KINDS, Sample, is_right, samples

_SEED = 20_000  # beyond those of the training, which draw from other sets anyway
_TODAY = date(2026, 3, 14)
_TABLE, _END = "<!-- evaluation -->", "<!-- end of evaluation -->"
_MOST_TOKENS = 400
_CTX = 2_048


@dataclass(frozen=True)
class Answered:
    """A sample with what nano made of it."""

    sample: Sample
    generation: Generation

    @property
    def effort(self) -> str:
        return self.sample.conversation.effort or "medium"

    @property
    def well_formed(self) -> bool:
        """Whether every marker stands where Harmony wants it, the last one included."""
        return not self.generation.recovered and self.generation.finish is not FinishReason.LENGTH

    @property
    def right(self) -> bool:
        return is_right(self.sample, self.generation.content, self.generation.calls)


def evaluate(path: Path, count: int, seed: int = _SEED) -> list[Answered]:
    chosen = list(itertools.islice(samples(seed, held_out=True), count))
    with (
        Interrupt() as interrupt,
        load_model(path, LoadOptions(_CTX, parallel=16, threads=1), Workload(), interrupt) as model,
    ):
        generations = [_generation(model, number, sample) for number, sample in enumerate(chosen)]
        finished: SimpleQueue[Generation | Exception] = SimpleQueue()
        with EngineThread(model.runner, finished.put) as worker:
            for generation in generations:
                worker.submit(generation)
            for _ in generations:
                done = finished.get()
                error = done if isinstance(done, Exception) else done.error
                if error is not None:
                    raise error
    return list(map(Answered, chosen, generations))


def _generation(model: LoadedModel, number: int, sample: Sample) -> Generation:
    conversation = replace(sample.conversation, date=sample.conversation.date or _TODAY)
    prompt = model.dialect.render(conversation)
    request = Request(
        id=str(number),
        prompt=np.array(prompt, np.int32),
        max_tokens=_MOST_TOKENS,
        sampling=Sampling(temperature=0),
        end_ids=model.dialect.end_ids,
    )
    return Generation(request, model.dialect.parser(prompt, conversation))


def table(results: Sequence[Answered]) -> Iterator[str]:
    """Markdown: right answers by kind and effort, well-formed ones, tokens of analysis."""
    yield "| kind | asked | right | low | medium | high | well-formed |"
    yield "|---|---|---|---|---|---|---|"
    for kind in KINDS:
        of = [result for result in results if result.sample.kind == kind]
        if of:
            yield _row(kind, of)
    yield _row("**all**", results)
    yield ""
    by_effort = {effort: [r for r in results if r.effort == effort] for effort in ("low", "medium", "high")}
    means = (f"{effort} {_mean_analysis(of):.0f}" for effort, of in by_effort.items() if of)
    yield f"Tokens of analysis, mean: {', '.join(means)}."


def _row(name: str, results: Sequence[Answered]) -> str:
    by_effort = ([r for r in results if r.effort == effort] for effort in ("low", "medium", "high"))
    cells = [_share([r.right for r in of]) for of in (results, *by_effort)]
    well_formed = _share([r.well_formed for r in results])
    return f"| {name} | {len(results)} | {' | '.join(cells)} | {well_formed} |"


def _share(outcomes: Sequence[bool]) -> str:
    return f"{100 * sum(outcomes) / len(outcomes):.1f} %" if outcomes else ""


def _mean_analysis(results: Sequence[Answered]) -> float:
    return sum(result.generation.reasoning_tokens for result in results) / len(results)


def listing(results: Sequence[Answered]) -> Iterator[str]:
    """A JSON object a prompt: what was asked, what was expected, what came."""
    for result in results:
        messages = result.sample.conversation.messages
        generation = result.generation
        record = {
            "kind": result.sample.kind,
            "effort": result.effort,
            "messages": [[message.role, message.content] for message in messages],
            "expected": _shown(result.sample.answer),
            "answer": " ".join(filter(None, (generation.content, *map(_shown, generation.calls)))),
            "analysis": generation.reasoning,
            "right": result.right,
            "well_formed": result.well_formed,
            "recovered": list(generation.recovered),
        }
        yield json.dumps(record, ensure_ascii=False)


def _shown(answer: str | ToolCall) -> str:
    return f"{answer.name}({answer.arguments})" if isinstance(answer, ToolCall) else answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--readme", type=Path)
    parser.add_argument("--listing", type=Path)
    args = parser.parse_args()
    results = evaluate(args.model, args.count)
    text = "\n".join(table(results))
    print(text)
    print("wrong:", dict(Counter(result.sample.kind for result in results if not result.right)))
    if args.readme:
        before, _, rest = args.readme.read_text("utf-8").partition(_TABLE)
        _, _, after = rest.partition(_END)
        args.readme.write_text(f"{before}{_TABLE}\n\n{text}\n\n{_END}{after}", "utf-8")
    if args.listing:
        args.listing.write_text("\n".join(listing(results)) + "\n", "utf-8")


if __name__ == "__main__":
    main()
