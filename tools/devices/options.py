"""The command line."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.devices.model_files import NAMES
from tools.devices.task import CHECKS, Kind

_CHECKS = tuple(check for kind, checks in CHECKS.items() if kind is not Kind.MACHINE for check in checks)
_BATCH, _QUICK_BATCH = (1, 8, 32, 64, 256), (1, 8)
_SECONDS, _QUICK_SECONDS = 5.0, 0.5


@dataclass(frozen=True)
class Options:
    """What is asked for. Empty `devices` or `checks` are all. `seconds` is how long a speed is measured."""

    devices: tuple[str, ...]
    models: tuple[str, ...]
    batch: tuple[int, ...]
    checks: frozenset[str]
    quick: bool
    filled: bool
    budget: float
    seconds: float
    ctx: int | None
    n_servers: int
    addresses: tuple[str, ...]
    llama_server: str | None
    folder: Path | None
    report: Path


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Exits with a message where they cannot be understood."""
    given = _parser().parse_args(arguments)
    models = given.model or ("nano,tiny" if given.quick else ",".join(NAMES))
    rpc = given.rpc or ""
    return Options(
        devices=_words(given.device),
        models=_words(models),
        batch=tuple(map(int, _words(given.batch))) or (_QUICK_BATCH if given.quick else _BATCH),
        checks=frozenset(_words(given.check)),
        quick=given.quick,
        filled=given.filled,
        budget=given.budget,
        seconds=_QUICK_SECONDS if given.quick else _SECONDS,
        ctx=given.ctx,
        n_servers=int(rpc) if rpc.isdigit() else 0,
        addresses=() if rpc.isdigit() else _words(rpc),
        llama_server=given.llama_server,
        folder=given.folder,
        report=given.report,
    )


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("devices", description="Checks ossctl on the devices of this machine.")
    add = parser.add_argument
    add("--device", metavar="NAME,…", help="these devices of llama.cpp alone, CPU among them (default: all)")
    add("--model", metavar="NAME,…", help=f"of {', '.join(NAMES)}, or a GGUF file (default: all of these)")
    add("--batch", metavar="N,…", help="sequences at once (default: 1,8,32,64,256)")
    add("--check", metavar="NAME,…", help=f"of {', '.join(_CHECKS)} (default: all)")
    add("--quick", action="store_true", help="small models, whole on the device, for a minute")
    add(
        "--filled", action="store_true", help="a 20b with experts in it: 12 GB of disk; speeds count, CPU too"
    )
    add("--budget", type=float, default=540, metavar="SECONDS", help="what does not fit is left out")
    add("--ctx", type=int, metavar="TOKENS", help="context of a load (default: as the plan decides)")
    add("--rpc", nargs="?", const="1", metavar="N|ADDRESS,…", help="start N RPC servers here, or use others")
    add("--llama-server", default=os.environ.get("LLAMA_SERVER"), metavar="FILE", help="the peer")
    add("--folder", type=Path, help="where models are written, and kept (default: a temporary one)")
    add("--report", type=Path, default=Path("device-report.json"), metavar="FILE")
    return parser
