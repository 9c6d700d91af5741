"""Many sequences at once in our engine and in llama-server: the same requests, loading not counted."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ossctl.app.bench.server_process import ServerFailed
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel, LoadOptions, load_model
from ossctl.app.placement.shapes import shape_of_file
from ossctl.engine.engine import Engine
from ossctl.engine.request import Generated, Request, Sampling
from ossctl.planning.workload import Purpose, Workload
from tools.devices.finding import Finding, Verdict
from tools.devices.task import CPU, Task
from tools.llama_server import Case, answer_all, server

N_PREDICT, LEAST_REQUESTS = 64, 4
_CTX, _PROMPT = 256, 64  # tokens


def run(task: Task) -> Iterator[Finding]:
    """One finding, which does not fail for being slow; the ratio is for the reader to judge."""
    path = Path(task.path)
    options = task.load_options(shape_of_file(path), LoadOptions(ctx=_CTX, parallel=task.n_seq))
    workload = Workload(Purpose.BATCH)
    with Interrupt() as interrupt, load_model(path, options, workload, interrupt, raw=True) as loaded:
        case = _case(task, loaded)
        ours, decode_share = _ours(loaded, case)
    figures: dict[str, Any] = {
        "sequences": task.n_seq,
        "requests": len(case.prompts),
        "ossctl": ours,
        "decode_share": decode_share,
    }
    try:
        figures["llama_server"] = _peer(task, case)
    except ServerFailed as error:
        message = f"ossctl {ours:,.0f} tokens/s ({decode_share:.0%} in llama.cpp); {error}"
    else:
        figures["ratio"] = ours / figures["llama_server"]
        peer = f"llama-server {figures['llama_server']:,.0f} tokens/s"
        message = (
            f"ossctl {ours:,.0f} ({decode_share:.0%} in llama.cpp), {peer}: {figures['ratio']:.2f} times"
        )
    yield Finding("batch", Verdict.OK, f"{task.n_seq} at once: {message}", figures)


def _case(task: Task, loaded: LoadedModel) -> Case:
    runner, rng = loaded.runner, np.random.default_rng(0)
    n_requests = max(task.n_seq, LEAST_REQUESTS)
    prompts = [rng.integers(0, runner.n_vocab, _PROMPT).tolist() for _ in range(n_requests)]
    return Case(task.path, task.n_seq, _CTX, runner.n_threads, N_PREDICT, 1.0, prompts)


def _ours(loaded: LoadedModel, case: Case) -> tuple[float, float]:
    """Tokens a second, their texts included, and the share of the time in which llama.cpp computes."""
    engine, n_bytes = Engine(loaded.runner), 0
    started = perf_counter()
    for number, prompt in enumerate(case.prompts):
        sampling = Sampling(temperature=case.temperature, seed=number)
        engine.submit(Request(str(number), np.array(prompt, np.int32), case.n_predict, sampling))
    while engine.busy:
        outputs = engine.step()
        n_bytes += sum(len(loaded.piece(each.token)) for each in outputs if isinstance(each, Generated))
    seconds = perf_counter() - started
    return engine.stats.generated_tokens / seconds, engine.stats.decode_seconds / seconds


def _peer(task: Task, case: Case) -> float:
    """Tokens a second. Raises ServerFailed where there is none, or none that sees the device."""
    if task.server is None:
        raise ServerFailed("no llama-server to compare with")
    options = ["-ngl", "0", "-dev", "none"] if task.device == CPU else ["-ngl", "999", "-dev", task.device]
    remote = ["--rpc", ",".join(task.addresses)] if task.addresses else []
    if task.device not in (CPU, *_devices_of(task.server, remote)):
        raise ServerFailed(f"this llama-server does not see {task.device}")
    with server(task.server, case, [*remote, *options, "--no-kv-unified"]) as peer:
        started = perf_counter()
        return answer_all(peer, case) / (perf_counter() - started)


def _devices_of(program: str, remote: list[str]) -> list[str]:
    """Names of the devices that a llama-server sees: `  CUDA0: a card (… MiB, … MiB free)`."""
    try:
        done = subprocess.run(
            [program, *remote, "--list-devices"], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise ServerFailed(f"{program} cannot be run: {error.strerror}") from None
    return [line.partition(":")[0].strip() for line in done.stdout.splitlines() if line.startswith("  ")]
