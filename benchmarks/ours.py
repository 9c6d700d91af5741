"""One run of the engine for the benchmark: token prompts in a JSON file, figures on stdout."""

import json
import sys
from pathlib import Path

import numpy as np

from ossctl.engine.engine import Engine
from ossctl.engine.request import Generated, Request, Sampling
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    context = ContextOptions(
        n_ctx=job["n_ctx_seq"],
        n_seq=job["n_seq"],
        n_threads=job["threads"],
    )
    text = 0
    with LlamaModel(Path(job["model"])) as model, LlamaRunner(model, context) as runner:
        engine = Engine(runner)
        for number, prompt in enumerate(job["prompts"]):
            sampling = Sampling(temperature=job["temperature"], seed=number)
            engine.submit(Request(str(number), np.array(prompt, np.int32), job["n_predict"], sampling))
        while engine.busy:
            for output in engine.step():
                if isinstance(output, Generated):
                    text += len(model.vocab.piece(output.token))  # the peer turns tokens into text, too
        stats = engine.stats
    outside = stats.step_seconds - stats.decode_seconds - stats.sample_seconds
    figures = {
        "tokens": stats.generated_tokens,
        "bytes": text,
        "decode_seconds": stats.decode_seconds,
        "sample_seconds": stats.sample_seconds,
        "python_seconds": outside,
        "step_seconds": stats.step_seconds,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
